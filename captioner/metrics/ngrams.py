"""N-gram counts of all captions of a corpus, for BLEU and CIDEr.

Axis letters: `I` images, `R` references of all images together, `M` distinct (caption, n-gram) pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
MAX_ORDER = 4
_END = "\0"


@dataclass(frozen=True, slots=True, eq=False)
class NgramCounts:
    """Counts of the n-grams of one order, sorted by caption, then by n-gram.

    Attributes:
        caption: int64 `[M]`, index of the caption.
        ngram: int64 `[M]`, index of the n-gram, 0 to `num_ngrams - 1`.
        count: int64 `[M]`, occurrences of the n-gram in the caption, at least 1.
        where: int64 `[num_ngrams]`, the position of one occurrence of each n-gram in the concatenated words.
        keys: int64 `[num_ngrams]`, increasing: the index of the n-gram without its last word (0 for single words)
            times the size of the vocabulary, plus the last word.
    """

    caption: Ints
    ngram: Ints
    count: Ints
    where: Ints
    keys: Ints

    @property
    def num_ngrams(self) -> int:
        """The number of distinct n-grams."""
        return len(self.where)


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """One candidate and at least one reference for each image, as counts of n-grams.

    Attributes:
        ids: int64 `[T]`, the words of all candidates, then of all references, as indices into `vocabulary`.
        vocabulary: The distinct words.
        candidate_length: int64 `[I]`, in words.
        reference_length: int64 `[R]`, in words.
        image: int64 `[R]`, the image of each reference, not decreasing.
        candidates: The candidates' counts, for orders 1 to 4. `caption` is the image.
        references: The references' counts, for orders 1 to 4. `caption` is the reference, 0 to R - 1.
        reference_maxima: For orders 1 to 4, each n-gram of an image's references with its maximum count in one
            reference. `caption` is the image.
    """

    ids: Ints
    vocabulary: tuple[str, ...]
    candidate_length: Ints
    reference_length: Ints
    image: Ints
    candidates: tuple[NgramCounts, ...]
    references: tuple[NgramCounts, ...]
    reference_maxima: tuple[NgramCounts, ...]

    @property
    def num_images(self) -> int:
        """The number of images, I."""
        return len(self.candidate_length)


def count_ngrams(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """Count the n-grams of tokenized captions, tokens separated by white space.

    Args:
        candidates: One for each image.
        references: At least one for each image, in the order of `candidates`.
    """
    number: defaultdict[str, int] = defaultdict(count().__next__)
    # All captions are split in one call, each terminated by a word that occurs in none.
    text = f" {_END} ".join([*candidates, *chain.from_iterable(references), ""])
    words = text.split()
    number[_END] = -1
    ids = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
    del number[_END]
    ends = np.flatnonzero(ids < 0)
    length = np.diff(ends, prepend=-1) - 1
    ids = np.delete(ids, ends)

    num_images = len(candidates)
    image = np.repeat(np.arange(num_images), [len(of_image) for of_image in references])
    candidate_counts, reference_counts, maxima = [], [], []
    for both in count_ids(ids, length, len(number)):
        cut = int(np.searchsorted(both.caption, num_images))
        candidate_counts.append(
            replace(both, caption=both.caption[:cut], ngram=both.ngram[:cut], count=both.count[:cut])
        )
        reference_counts.append(
            replace(
                both, caption=both.caption[cut:] - num_images, ngram=both.ngram[cut:], count=both.count[cut:]
            )
        )
        maxima.append(_maxima(reference_counts[-1], image))
    return Corpus(
        ids=ids,
        vocabulary=tuple(number),
        candidate_length=length[:num_images],
        reference_length=length[num_images:],
        image=image,
        candidates=tuple(candidate_counts),
        references=tuple(reference_counts),
        reference_maxima=tuple(maxima),
    )


def count_ids(ids: Ints, length: Ints, vocabulary: int) -> tuple[NgramCounts, ...]:
    """Count the n-grams of captions given as word ids, for orders 1 to 4.

    Args:
        ids: int64 `[T]`, the words of all captions, concatenated, 0 to `vocabulary - 1`.
        length: int64, the number of words of each caption.
        vocabulary: Size of the vocabulary.
    """
    caption = np.repeat(np.arange(len(length)), length)
    left = np.repeat(np.cumsum(length), length) - np.arange(len(ids))  # words from here to the caption's end
    ngram = np.zeros_like(ids)
    counts = []
    for order in range(1, MAX_ORDER + 1):
        # An n-gram is the (n-1)-gram that begins at the same position, and the word after it.
        begins = np.flatnonzero(left >= order)
        key = ngram[begins] * max(vocabulary, 1) + ids[begins + order - 1]
        by_key = np.argsort(key)
        in_order = key[by_key]
        is_new = np.diff(in_order, prepend=-1) != 0
        keys, where = in_order[is_new], begins[by_key[is_new]]
        numbered = np.empty_like(key)
        numbered[by_key] = np.cumsum(is_new) - 1
        ngram = np.zeros_like(ids)
        ngram[begins] = numbered
        size = max(len(keys), 1)
        pairs, times = np.unique(caption[begins] * size + numbered, return_counts=True)
        counts.append(NgramCounts(pairs // size, pairs % size, times, where, keys))
    return tuple(counts)


def _maxima(references: NgramCounts, image: Ints) -> NgramCounts:
    """Each image's n-grams with the maximum of the references' counts."""
    size = max(references.num_ngrams, 1)
    # Sorted together with the counts, the last entry of each image and n-gram has the maximum.
    bits = int(references.count.max(initial=1)).bit_length()
    entry = np.sort((image[references.caption] * size + references.ngram) << bits | references.count)
    key = entry >> bits
    last = np.flatnonzero(np.diff(key, append=-1))
    count = entry[last] & ((1 << bits) - 1)
    return replace(references, caption=key[last] // size, ngram=key[last] % size, count=count)


def find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The index of each of `wanted` in sorted, distinct `keys`, and whether it is among them."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
