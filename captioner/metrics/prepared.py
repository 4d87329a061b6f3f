"""Reference n-grams weighted and sorted by image once, for repeated scoring of sampled captions.

Axis letters: `R` references of all images together, `S` sampled captions, `P` pairs of a sample and a reference.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import Ints, NgramCounts, find
from captioner.metrics.token_words import ranges

Floats = NDArray[np.float64]


class PreparedOrder:
    """The references' n-grams of one order with their tf-idf weights.

    Args:
        counts: The n-grams of the references.
        image_of: The image of each reference, not decreasing.
        num_images: Number of images.
        vocabulary: Size of the references' vocabulary.

    Attributes:
        norm: float64 `[R]`, the norm of each reference's vector.
    """

    def __init__(self, counts: NgramCounts, image_of: Ints, num_images: int, vocabulary: int) -> None:
        self._keys = counts.keys
        self._vocabulary = vocabulary
        size = max(counts.num_ngrams, 1)
        entry = image_of[counts.caption] * size + counts.ngram
        # One row for each reference and n-gram, sorted by image, then by n-gram.
        order = np.argsort(entry, kind="stable")
        self._entry, self._reference = entry[order], counts.caption[order]
        first = np.flatnonzero(np.diff(self._entry, prepend=-1))
        self._of_image = self._entry[first]  # the distinct n-grams of each image
        self._maxima = (
            np.maximum.reduceat(counts.count[order], first) if len(first) else np.zeros(0, np.int64)
        )
        occurs = np.bincount(self._of_image % size, minlength=size)
        # One more weight at the end, for n-grams that occur in no reference.
        self._weight = math.log(num_images) - np.log(np.maximum(np.append(occurs, 0), 1))
        self._value = (counts.count * self._weight[counts.ngram])[order]
        self.norm = np.sqrt(np.bincount(self._reference, self._value**2, len(image_of)))

    def indices(self, samples: NgramCounts, prefixes: Ints, vocabulary: int) -> Ints:
        """The index of each of the samples' n-grams among the references', -1 where it does not occur.

        Args:
            samples: The samples' n-grams.
            prefixes: The result of this method for the n-grams of the order below; `[0]` for single words.
            vocabulary: Size of the samples' vocabulary.
        """
        prefix, last = prefixes[samples.keys // vocabulary], samples.keys % vocabulary
        at, found = find(self._keys, prefix * self._vocabulary + last)
        return np.where(found & (prefix >= 0) & (last < self._vocabulary), at, -1)

    def products(
        self, samples: NgramCounts, indices: Ints, image: Ints, to_pair: Ints, num_pairs: int
    ) -> tuple[Floats, Floats]:
        """The clipped dot product of each pair `[P]`, and the norm of each sample's vector `[S]`.

        Args:
            samples: The samples' n-grams.
            indices: Their indices, from `indices`.
            image: The image of each sample.
            to_pair: For each sample, the offset from the index of a reference to that of the pair.
            num_pairs: Number of pairs.
        """
        index = indices[samples.ngram]
        value = samples.count * self._weight[index]
        norm = np.sqrt(np.bincount(samples.caption, value**2, len(image)))
        sample = samples.caption[index >= 0]
        entry = image[sample] * (len(self._weight) - 1) + index[index >= 0]
        begin, end = np.searchsorted(self._entry, entry), np.searchsorted(self._entry, entry, side="right")
        row = ranges(begin, end)
        left, right = np.repeat(value[index >= 0], end - begin), self._value[row]
        pair = self._reference[row] + np.repeat(to_pair[sample], end - begin)
        return np.asarray(np.bincount(pair, np.minimum(left, right) * right, num_pairs), np.float64), norm

    def matches(self, samples: NgramCounts, indices: Ints, image: Ints) -> Ints:
        """`[S]`: n-grams of each sample that occur in a reference, each at most as often as in any one reference.

        Arguments as in `products`.
        """
        index = indices[samples.ngram]
        entry = image[samples.caption] * (len(self._weight) - 1) + index
        at, found = find(self._of_image, entry)
        found &= index >= 0
        clipped = np.minimum(self._maxima[at[found]], samples.count[found])
        return np.bincount(samples.caption[found], clipped, len(image)).astype(np.int64)
