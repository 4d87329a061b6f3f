"""What of the references can be computed before there are captions? Their n-grams, weighted and sorted by image.

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
    """The references' n-grams of one order, weighted by how few images have them.

    Args:
        counts: The n-grams of the references.
        image_of: The image of each reference, not decreasing.
        num_images: How many images there are.
        vocabulary: How many words the references may have.

    Attributes:
        norm: float64 `[R]`, the length of each reference's vector.
    """

    def __init__(self, counts: NgramCounts, image_of: Ints, num_images: int, vocabulary: int) -> None:
        self._keys = counts.keys
        self._vocabulary = vocabulary
        size = max(counts.num_ngrams, 1)
        entry = image_of[counts.caption] * size + counts.ngram
        # Rows, one for each reference and n-gram, by image, then by n-gram.
        order = np.argsort(entry, kind="stable")
        self._entry, self._reference = entry[order], counts.caption[order]
        first = np.flatnonzero(np.diff(self._entry, prepend=-1))
        self._of_image = self._entry[first]  # each image's n-grams, once
        self._richest = (
            np.maximum.reduceat(counts.count[order], first) if len(first) else np.zeros(0, np.int64)
        )
        occurs = np.bincount(self._of_image % size, minlength=size)
        # One more weight at the end, for n-grams that no reference has.
        self._weight = math.log(num_images) - np.log(np.maximum(np.append(occurs, 0), 1))
        self._value = (counts.count * self._weight[counts.ngram])[order]
        self.norm = np.sqrt(np.bincount(self._reference, self._value**2, len(image_of)))

    def numbers(self, samples: NgramCounts, shorter: Ints, vocabulary: int) -> Ints:
        """For each n-gram of the samples its number here, -1 where no reference has it.

        Args:
            samples: The samples' n-grams.
            shorter: What this said of the n-grams one shorter; `[0]` for single words.
            vocabulary: How many words the samples may have.
        """
        prefix, last = shorter[samples.keys // vocabulary], samples.keys % vocabulary
        at, found = find(self._keys, prefix * self._vocabulary + last)
        return np.where(found & (prefix >= 0) & (last < self._vocabulary), at, -1)

    def products(
        self, samples: NgramCounts, known: Ints, image: Ints, to_pair: Ints, num_pairs: int
    ) -> tuple[Floats, Floats]:
        """The clipped dot product of each pair `[P]`, and the length of each sample's vector `[S]`.

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
        row = ranges(begin, end)
        mine, theirs = np.repeat(value[number >= 0], end - begin), self._value[row]
        pair = self._reference[row] + np.repeat(to_pair[sample], end - begin)
        return np.asarray(np.bincount(pair, np.minimum(mine, theirs) * theirs, num_pairs), np.float64), norm

    def matches(self, samples: NgramCounts, known: Ints, image: Ints) -> Ints:
        """`[S]`: n-grams of each sample that a reference has, at most as often as in any one reference.

        Arguments as in `products`.
        """
        number = known[samples.ngram]
        entry = image[samples.caption] * (len(self._weight) - 1) + number
        at, found = find(self._of_image, entry)
        found &= number >= 0
        clipped = np.minimum(self._richest[at[found]], samples.count[found])
        return np.bincount(samples.caption[found], clipped, len(image)).astype(np.int64)
