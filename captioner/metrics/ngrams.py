"""How often does each n-gram occur in each caption? Counted at once for all, for BLEU and CIDEr.

Axis letters: `I` images, `R` references of all images together, `M` distinct (caption, n-gram) pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
MAX_ORDER = 4


@dataclass(frozen=True, slots=True, eq=False)
class NgramCounts:
    """Counts of the n-grams of one order, sorted by caption, then by n-gram.

    Attributes:
        caption: int64 `[M]`, the caption.
        ngram: int64 `[M]`, the n-gram's number, 0 to `num_ngrams - 1`.
        count: int64 `[M]`, how often it occurs there, at least 1.
        first: int64 `[num_ngrams]`, where in the corpus' words each n-gram first stands.
    """

    caption: Ints
    ngram: Ints
    count: Ints
    first: Ints

    @property
    def num_ngrams(self) -> int:
        """The number of distinct n-grams."""
        return len(self.first)


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """One candidate and at least one reference for each image, as counts of n-grams.

    Attributes:
        words: The words of all candidates, then of all references, in order.
        candidate_length: int64 `[I]`, in words.
        reference_length: int64 `[R]`, in words.
        image: int64 `[R]`, the image of each reference, not decreasing.
        candidates: The candidates' counts, for orders 1 to 4. `caption` is the image.
        references: The references' counts, for orders 1 to 4. `caption` is the reference, 0 to R - 1.
    """

    words: list[str]
    candidate_length: Ints
    reference_length: Ints
    image: Ints
    candidates: tuple[NgramCounts, ...]
    references: tuple[NgramCounts, ...]

    @property
    def num_images(self) -> int:
        """The number of images, I."""
        return len(self.candidate_length)


def count_ngrams(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """Count the n-grams of tokenized captions, tokens parted by white space.

    Args:
        candidates: One for each image.
        references: At least one for each image, in the order of `candidates`.
    """
    captions = [*candidates, *(reference for image in references for reference in image)]
    split = [caption.split() for caption in captions]
    words = [word for caption in split for word in caption]
    number: dict[str, int] = {}
    ids = np.fromiter((number.setdefault(word, len(number)) for word in words), np.int64, len(words))
    length = np.fromiter(map(len, split), np.int64, len(split))
    caption = np.repeat(np.arange(len(split)), length)
    left = np.repeat(np.cumsum(length), length) - np.arange(
        len(words)
    )  # words from here to the caption's end

    num_images = len(candidates)
    candidate_counts, reference_counts = [], []
    ngram, first = ids, np.unique(ids, return_index=True)[1]
    for order in range(1, MAX_ORDER + 1):
        if order > 1:
            # An n-gram is the n-gram one shorter that begins here, and the word after it.
            begins = np.flatnonzero(left >= order)
            key = ngram[begins] * max(len(number), 1) + ids[begins + order - 1]
            _, index, numbered = np.unique(key, return_index=True, return_inverse=True)
            ngram = np.zeros_like(ids)
            ngram[begins] = numbered
            first = begins[index]
        else:
            begins = np.arange(len(words))
        size = max(len(first), 1)
        pairs, count = np.unique(caption[begins] * size + ngram[begins], return_counts=True)
        cut = int(np.searchsorted(pairs, num_images * size))
        candidate_counts.append(NgramCounts(pairs[:cut] // size, pairs[:cut] % size, count[:cut], first))
        of_reference = pairs[cut:] - num_images * size
        reference_counts.append(NgramCounts(of_reference // size, of_reference % size, count[cut:], first))
    return Corpus(
        words=words,
        candidate_length=length[:num_images],
        reference_length=length[num_images:],
        image=np.repeat(np.arange(num_images), [len(image) for image in references]),
        candidates=tuple(candidate_counts),
        references=tuple(reference_counts),
    )


def find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each of `wanted` stands in sorted, distinct `keys`, and whether it is there at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
