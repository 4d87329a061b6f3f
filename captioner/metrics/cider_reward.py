"""How good are sampled captions, for self-critical training? CIDEr-D of token ids against prepared references.

Source: S. Rennie et al., "Self-critical sequence training", 2017. Equal to `cider.cider_d` on the decoded captions, but
what depends on the references alone is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError
from captioner.metrics.cider import SCALE, SIGMA
from captioner.metrics.ngrams import MAX_ORDER, Ints, NgramCounts, count_ids, find
from captioner.metrics.ptb import tokenize


class CiderReward:
    """CIDEr-D of sampled captions.

    The document frequencies are those of the references given here: of the whole training set.

    Args:
        references: At least one caption by image id, as written, of two images or more.
        words: For each token id, the words it stands for in a caption: for a word-level tokenizer its word, "" for
            special tokens. They are tokenized as captions are, so a comma's id counts for nothing.
        eos_id: What stands after it is not part of the caption.

    Raises:
        DataError: An image has no reference, or there are fewer than two images, with which every weight is 0.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], words: Sequence[str], *, eos_id: int) -> None:
        if len(references) < 2:
            raise DataError(
                f"CIDEr weighs words over images, and there are references for {len(references)}."
            )
        if bare := [image for image, captions in references.items() if not captions]:
            raise DataError(f"Image {bare[0]} has no reference caption: leave it out of training.")
        split = [[tokenize(caption).split() for caption in captions] for captions in references.values()]
        number: dict[str, int] = {}
        captions = [caption for of_image in split for caption in of_image]
        ids = [number.setdefault(word, len(number)) for caption in captions for word in caption]
        of_token = [
            [number.setdefault(word, len(number)) for word in tokenize(text).split()] for text in words
        ]

        self._image = {image: index for index, image in enumerate(references)}
        self._eos_id = eos_id
        self._vocabulary = len(number)
        # Token id -> words, ragged: where they begin in one list, and how many they are.
        self._token_words = np.array([word for of_one in of_token for word in of_one] or [0], np.int64)
        self._token_length = np.array([len(of_one) for of_one in of_token], np.int64)
        self._token_start = np.cumsum(self._token_length) - self._token_length

        self._length = np.array([len(caption) for caption in captions], np.int64)
        per_image = np.array([len(of_image) for of_image in split], np.int64)
        self._first_reference = np.concatenate([[0], np.cumsum(per_image)])
        image_of = np.repeat(np.arange(len(split)), per_image)
        self._orders = [
            _PreparedOrder(counts, image_of, len(split))
            for counts in count_ids(np.array(ids, np.int64), self._length, self._vocabulary)
        ]

    def __call__(self, images: Sequence[str], tokens: NDArray[np.integer]) -> NDArray[np.float64]:
        """Rewards float64 `[B, S]`, 0–10.

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
        ids, length = self._words_of(tokens.reshape(-1, tokens.shape[-1]))
        samples = count_ids(ids, length, self._vocabulary)

        image = np.repeat([self._image[name] for name in images], tokens.shape[1])
        first = self._first_reference[image]
        per_sample = self._first_reference[image + 1] - first
        # A pair is a sample and a reference of its image; a sample's pairs stand together: [pairs]
        first_pair = np.cumsum(per_sample) - per_sample
        sample = np.repeat(np.arange(len(image)), per_sample)
        reference = _ranges(first, first + per_sample)
        similarity = np.zeros(len(sample))
        known = np.zeros(
            1, np.int64
        )  # for each n-gram of the samples one shorter, its number among the references'
        for counts, prepared in zip(samples, self._orders, strict=True):
            known = prepared.numbers(counts, known, self._vocabulary)
            dot, norm = prepared.products(counts, known, image, first_pair - first, len(sample))
            norms = norm[sample] * prepared.norm[reference]
            similarity += np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)
        delta = np.maximum(length - 1, 0)[sample] - np.maximum(self._length - 1, 0)[reference]
        similarity *= np.exp(-(delta**2) / (2 * SIGMA**2))
        rewards = np.bincount(sample, similarity, len(image)) / per_sample * (SCALE / MAX_ORDER)
        return np.asarray(rewards.reshape(tokens.shape[:2]))

    def _words_of(self, tokens: NDArray[np.integer]) -> tuple[Ints, Ints]:
        """The word numbers of rows of token ids, one after the other, and how many each row has."""
        before_end = np.cumsum(tokens == self._eos_id, axis=1) == 0
        lengths = self._token_length[tokens] * before_end
        starts = self._token_start[tokens].ravel()
        return self._token_words[_ranges(starts, starts + lengths.ravel())], lengths.sum(1)


class _PreparedOrder:
    """The references' n-grams of one order, weighted.

    Attributes:
        norm: float64 `[R]`, the length of each reference's vector.
    """

    def __init__(self, counts: NgramCounts, image_of: Ints, num_images: int) -> None:
        self._keys = counts.keys
        size = max(counts.num_ngrams, 1)
        entry = image_of[counts.caption] * size + counts.ngram
        occurs = np.bincount(np.unique(entry) % size, minlength=size)
        # One more weight at the end, for n-grams that no reference has.
        self._weight = math.log(num_images) - np.log(np.maximum(np.append(occurs, 0), 1))
        value = counts.count * self._weight[counts.ngram]
        self.norm = np.sqrt(np.bincount(counts.caption, value**2, len(image_of)))
        # Rows, one for each reference and n-gram, by image, then by n-gram.
        order = np.argsort(entry, kind="stable")
        self._entry, self._value, self._reference = entry[order], value[order], counts.caption[order]

    def numbers(self, samples: NgramCounts, shorter: Ints, vocabulary: int) -> Ints:
        """For each n-gram of the samples its number here, -1 where no reference has it."""
        prefix, last = shorter[samples.keys // vocabulary], samples.keys % vocabulary
        at, found = find(self._keys, prefix * vocabulary + last)
        return np.where(found & (prefix >= 0), at, -1)

    def products(
        self, samples: NgramCounts, known: Ints, image: Ints, to_pair: Ints, num_pairs: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The clipped dot product of each pair, and the length of each sample's vector.

        Args:
            samples: The samples' n-grams.
            known: What `numbers` says of them.
            image: The image of each sample.
            to_pair: For each sample, what to add to a reference's number to have the pair's.
            num_pairs: How many pairs there are.
        """
        number = known[samples.ngram]
        value = samples.count * self._weight[number]
        norm = np.sqrt(np.bincount(samples.caption, value**2, len(image)))
        sample = samples.caption[number >= 0]
        entry = image[sample] * (len(self._weight) - 1) + number[number >= 0]
        begin, end = np.searchsorted(self._entry, entry), np.searchsorted(self._entry, entry, side="right")
        row = _ranges(begin, end)
        mine, theirs = np.repeat(value[number >= 0], end - begin), self._value[row]
        pair = self._reference[row] + np.repeat(to_pair[sample], end - begin)
        return np.asarray(np.bincount(pair, np.minimum(mine, theirs) * theirs, num_pairs), np.float64), norm


def _ranges(starts: Ints, stops: Ints) -> Ints:
    """The numbers of all ranges, one after the other."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    return np.repeat(stops - ends, lengths) + np.arange(ends[-1] if len(ends) else 0)
