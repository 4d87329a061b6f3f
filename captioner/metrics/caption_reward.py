"""Rewards of sampled captions for self-critical training: CIDEr-D, BLEU-4 and length.

CIDEr-D and BLEU-4 equal `cider.cider_d` and `bleu.bleu` on the decoded captions, but what depends on the references
alone is computed once. Where EOS counts as a word, captions that stop in the middle of a phrase get a lower reward
than complete ones.

Source: S. Rennie et al., "Self-critical sequence training for image captioning", 2017.

Axis letters: `B` images, `S` samples of each image, `L` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError, did_you_mean
from captioner.metrics.bleu import Bleu
from captioner.metrics.cider import SCALE, SIGMA
from captioner.metrics.ngrams import MAX_ORDER, Ints, count_ids
from captioner.metrics.prepared import Floats, PreparedOrder
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.token_words import END, TokenWords, ranges

REWARDS = ("CIDEr-D", "BLEU-4", "length")
"""CIDEr-D is 0–10, BLEU-4 0–1. Length is max(0, 1 - |c - r| / r) for a caption of c words and the reference length r
closest to c."""


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """Rewards of sampled captions.

    Attributes:
        total: float64 `[B, S]`, the weighted sum.
        parts: Each unweighted reward by name, float64 `[B, S]`.
    """

    total: Floats
    parts: dict[str, Floats]


class CaptionReward:
    """Reward function of sampled captions.

    Document frequencies are those of `references`: give those of the whole training set.

    Args:
        references: At least one caption by image id, as written, of two images or more.
        words: Maps token ids to words.
        weights: Weights of some of `REWARDS`; a reward of weight 0 is not computed.

    Raises:
        DataError: An image has no reference, or there are fewer than two images, so that every idf weight is 0.
        UsageError: A reward is unknown, or no weight is above 0.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        words: TokenWords,
        *,
        weights: Mapping[str, float],
    ) -> None:
        check_weights(weights)
        if len(references) < 2:
            raise DataError(f"CIDEr needs references of at least two images, and got {len(references)}")
        if bare := [image for image, captions in references.items() if not captions]:
            raise DataError(f"image {bare[0]} has no reference caption; leave it out of training")
        end = [END] if words.count_end else []
        split = [
            [tokenize(caption).split() + end for caption in captions] for captions in references.values()
        ]
        index: dict[str, int] = {}
        captions = [caption for of_image in split for caption in of_image]
        ids = [index.setdefault(word, len(index)) for caption in captions for word in caption]
        words.set_vocabulary(index)
        self._words = words
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}
        self._end = len(end)
        self._image = {image: i for i, image in enumerate(references)}
        self._length = np.array([len(caption) for caption in captions], np.int64)
        per_image = np.array([len(of_image) for of_image in split], np.int64)
        self._first_reference = np.concatenate([[0], np.cumsum(per_image)])
        image_of = np.repeat(np.arange(len(split)), per_image)
        vocabulary = len(index)
        self._orders = [
            PreparedOrder(counts, image_of, len(split), vocabulary)
            for counts in count_ids(np.array(ids, np.int64), self._length, vocabulary)
        ]

    def __call__(self, images: Sequence[str], tokens: NDArray[np.integer]) -> Rewards:
        """The rewards of sampled captions.

        Args:
            images: The ids of B images.
            tokens: Token ids, integers `[B, S, L]`, S samples for each image.

        Raises:
            UsageError: `tokens` has another shape.
            KeyError: An image has no references.
        """
        if tokens.ndim != 3 or len(tokens) != len(images):
            raise UsageError(
                f"tokens has the shape {tokens.shape}; expected [{len(images)}, samples, length]"
            )
        rows = self._words(tokens.reshape(-1, tokens.shape[-1]))
        length = rows.length
        counts = count_ids(rows.words, length, rows.vocabulary)
        indices = []  # for each order, the index of each of the samples' n-grams among the references'
        prefixes = np.zeros(1, np.int64)
        for samples, prepared in zip(counts, self._orders, strict=True):
            prefixes = prepared.indices(samples, prefixes, rows.vocabulary)
            indices.append(prefixes)

        image = np.repeat([self._image[name] for name in images], tokens.shape[1])
        first = self._first_reference[image]
        per_sample = self._first_reference[image + 1] - first
        # A pair is a sample and a reference of its image; the pairs of a sample are adjacent: [pairs]
        first_pair = np.cumsum(per_sample) - per_sample
        sample = np.repeat(np.arange(len(image)), per_sample)
        reference_length = self._length[ranges(first, first + per_sample)]
        parts: dict[str, Floats] = {}
        if "CIDEr-D" in self._weights:
            similarity = np.zeros(len(sample))
            reference = ranges(first, first + per_sample)
            for samples, prepared, of_order in zip(counts, self._orders, indices, strict=True):
                dot, norm = prepared.products(samples, of_order, image, first_pair - first, len(sample))
                norms = norm[sample] * prepared.norm[reference]
                similarity += np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)
            delta = np.maximum(length - 1, 0)[sample] - np.maximum(reference_length - 1, 0)
            similarity *= np.exp(-(delta**2) / (2 * SIGMA**2))
            parts["CIDEr-D"] = np.bincount(sample, similarity, len(image)) / per_sample * (SCALE / MAX_ORDER)
        if "BLEU-4" in self._weights:
            matches = [
                prepared.matches(samples, of_order, image)
                for samples, prepared, of_order in zip(counts, self._orders, indices, strict=True)
            ]
            total = np.maximum(length[:, None] - np.arange(MAX_ORDER), 0)
            closest = _closest(length[sample], reference_length, first_pair)
            parts["BLEU-4"] = Bleu(np.stack(matches, axis=1), total, length, closest).images()[:, -1]
        if "length" in self._weights:
            words = length - rows.ended
            closest = np.maximum(_closest(words[sample], reference_length - self._end, first_pair), 1)
            parts["length"] = np.maximum(1 - np.abs(words - closest) / closest, 0.0)
        shape = tokens.shape[:2]
        shaped = {name: np.asarray(values.reshape(shape), np.float64) for name, values in parts.items()}
        rewards = np.zeros(shape)
        for name, weight in self._weights.items():
            rewards += weight * shaped[name]
        return Rewards(rewards, shaped)


def check_weights(weights: Mapping[str, float]) -> None:
    """Check names and weights of rewards.

    Raises:
        UsageError: A reward is unknown, a weight is out of range, or all are 0.
    """
    for name, weight in weights.items():
        if name not in REWARDS:
            raise UsageError(
                f"reward {name} is unknown; choose from {', '.join(REWARDS)}{did_you_mean(name, REWARDS)}"
            )
        if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise UsageError(f"reward {name}={weight} must be a finite number of at least 0; 0 turns it off")
    if not any(weights.values()):
        raise UsageError(f"all reward weights are 0; set one of {', '.join(REWARDS)} to a number above 0")


def _closest(length: Ints, reference_length: Ints, first_pair: Ints) -> Ints:
    """`[samples]`: the reference length closest to each sample's, the shorter of two equally close.

    Args:
        length: Of the sample of each pair.
        reference_length: Of the reference of each pair.
        first_pair: The first pair of each sample.
    """
    longest = int(reference_length.max(initial=0)) + 1
    distance = np.abs(reference_length - length) * longest + reference_length
    return np.minimum.reduceat(distance, first_pair) % longest
