"""How good are sampled captions, for self-critical training? CIDEr-D, BLEU-4 and length against prepared references.

CIDEr-D and BLEU-4 equal `cider.cider_d` and `bleu.bleu` on the decoded captions, but what depends on the references
alone is computed once. Where the end of a caption counts as a word, captions that stop in the middle of a phrase earn
less than those that end where people end.

Source: S. Rennie et al., "Self-critical sequence training for image captioning", 2017.

Axis letters: `B` images, `S` samples of each image, `L` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError
from captioner.metrics.bleu import Bleu
from captioner.metrics.cider import SCALE, SIGMA
from captioner.metrics.ngrams import MAX_ORDER, Ints, count_ids
from captioner.metrics.prepared import Floats, PreparedOrder
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.token_words import END, Spelling, ranges

REWARDS = ("CIDEr-D", "BLEU-4", "length")
"""CIDEr-D is 0–10, BLEU-4 0–1. Length is 1 for a caption as long as one of its references, less by the share of the
closest one's words that it has too few or too many, and at least 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """What sampled captions earn.

    Attributes:
        total: float64 `[B, S]`, the weighted sum.
        parts: Each reward by its name, float64 `[B, S]`, unweighted.
    """

    total: Floats
    parts: dict[str, Floats]


class CaptionReward:
    """The worth of sampled captions.

    The document frequencies are those of the references given here: of the whole training set.

    Args:
        references: At least one caption by image id, as written, of two images or more.
        spelling: What token ids stand for.
        weights: Of some of `REWARDS`; what has weight 0 is not computed.

    Raises:
        DataError: An image has no reference, or there are fewer than two images, with which every weight is 0.
        UsageError: A reward is unknown, or no weight is above 0.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        spelling: Spelling,
        *,
        weights: Mapping[str, float],
    ) -> None:
        check_weights(weights)
        if len(references) < 2:
            raise DataError(
                f"CIDEr weighs words over images, and there are references for {len(references)}."
            )
        if bare := [image for image, captions in references.items() if not captions]:
            raise DataError(f"Image {bare[0]} has no reference caption: leave it out of training.")
        end = [END] if spelling.count_end else []
        split = [
            [tokenize(caption).split() + end for caption in captions] for captions in references.values()
        ]
        number: dict[str, int] = {}
        captions = [caption for of_image in split for caption in of_image]
        ids = [number.setdefault(word, len(number)) for caption in captions for word in caption]
        spelling.number(number)
        self._spelling = spelling
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}
        self._end = len(end)
        self._image = {image: index for index, image in enumerate(references)}
        self._length = np.array([len(caption) for caption in captions], np.int64)
        per_image = np.array([len(of_image) for of_image in split], np.int64)
        self._first_reference = np.concatenate([[0], np.cumsum(per_image)])
        image_of = np.repeat(np.arange(len(split)), per_image)
        vocabulary = len(number)
        self._orders = [
            PreparedOrder(counts, image_of, len(split), vocabulary)
            for counts in count_ids(np.array(ids, np.int64), self._length, vocabulary)
        ]

    def __call__(self, images: Sequence[str], tokens: NDArray[np.integer]) -> Rewards:
        """The rewards of samples.

        Args:
            images: The ids of B images.
            tokens: Integers `[B, S, L]`, S samples for each image, of token ids.

        Raises:
            UsageError: `tokens` has another shape.
            KeyError: There are no references for an image.
        """
        if tokens.ndim != 3 or len(tokens) != len(images):
            raise UsageError(
                f"tokens has the shape {tokens.shape}; expected [{len(images)}, samples, length]"
            )
        spelled = self._spelling(tokens.reshape(-1, tokens.shape[-1]))
        length = spelled.length
        counts = count_ids(spelled.words, length, spelled.vocabulary)
        known = []
        shorter = np.zeros(
            1, np.int64
        )  # for each n-gram of the samples one shorter, its number among the references'
        for samples, prepared in zip(counts, self._orders, strict=True):
            shorter = prepared.numbers(samples, shorter, spelled.vocabulary)
            known.append(shorter)

        image = np.repeat([self._image[name] for name in images], tokens.shape[1])
        first = self._first_reference[image]
        per_sample = self._first_reference[image + 1] - first
        # A pair is a sample and a reference of its image; a sample's pairs stand together: [pairs]
        first_pair = np.cumsum(per_sample) - per_sample
        sample = np.repeat(np.arange(len(image)), per_sample)
        theirs = self._length[ranges(first, first + per_sample)]
        parts: dict[str, Floats] = {}
        if "CIDEr-D" in self._weights:
            similarity = np.zeros(len(sample))
            reference = ranges(first, first + per_sample)
            for samples, prepared, numbers in zip(counts, self._orders, known, strict=True):
                dot, norm = prepared.products(samples, numbers, image, first_pair - first, len(sample))
                norms = norm[sample] * prepared.norm[reference]
                similarity += np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)
            delta = np.maximum(length - 1, 0)[sample] - np.maximum(theirs - 1, 0)
            similarity *= np.exp(-(delta**2) / (2 * SIGMA**2))
            parts["CIDEr-D"] = np.bincount(sample, similarity, len(image)) / per_sample * (SCALE / MAX_ORDER)
        if "BLEU-4" in self._weights:
            matches = [
                prepared.matches(samples, numbers, image)
                for samples, prepared, numbers in zip(counts, self._orders, known, strict=True)
            ]
            total = np.maximum(length[:, None] - np.arange(MAX_ORDER), 0)
            closest = _closest(length[sample], theirs, first_pair)
            parts["BLEU-4"] = Bleu(np.stack(matches, axis=1), total, length, closest).images()[:, -1]
        if "length" in self._weights:
            words = length - spelled.ended
            closest = np.maximum(_closest(words[sample], theirs - self._end, first_pair), 1)
            parts["length"] = np.maximum(1 - np.abs(words - closest) / closest, 0.0)
        shape = tokens.shape[:2]
        shaped = {name: np.asarray(values.reshape(shape), np.float64) for name, values in parts.items()}
        rewards = np.zeros(shape)
        for name, weight in self._weights.items():
            rewards += weight * shaped[name]
        return Rewards(rewards, shaped)


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse rewards that there are not.

    Raises:
        UsageError: Naming the reward or its weight.
    """
    for name, weight in weights.items():
        if name not in REWARDS:
            raise UsageError(f"reward {name} is unknown; choose from {', '.join(REWARDS)}")
        if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise UsageError(f"reward {name}={weight} must be a number from 0; 0 leaves it out")
    if not any(weights.values()):
        raise UsageError(f"no reward has a weight; give one of {', '.join(REWARDS)} a number above 0")


def _closest(mine: Ints, theirs: Ints, first_pair: Ints) -> Ints:
    """`[samples]`: of the references' lengths the closest to the sample's, the shorter of two equally close."""
    longest = int(theirs.max(initial=0)) + 1
    return np.minimum.reduceat(np.abs(theirs - mine) * longest + theirs, first_pair) % longest
