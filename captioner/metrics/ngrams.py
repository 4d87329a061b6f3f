"""How often does each n-gram occur in each caption? Counted at once for all, for BLEU and CIDEr.

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
        caption: int64 `[M]`, the caption.
        ngram: int64 `[M]`, the n-gram's number, 0 to `num_ngrams - 1`.
        count: int64 `[M]`, how often it occurs there, at least 1.
        where: int64 `[num_ngrams]`, a place in the captions' words where each n-gram begins.
        keys: int64 `[num_ngrams]`, increasing: the number of the n-gram without its last word (0 for single words)
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
        ids: int64 `[T]`, the words of all candidates, then of all references, by their number in `vocabulary`.
        vocabulary: The distinct words.
        candidate_length: int64 `[I]`, in words.
        reference_length: int64 `[R]`, in words.
        image: int64 `[R]`, the image of each reference, not decreasing.
        candidates: The candidates' counts, for orders 1 to 4. `caption` is the image.
        references: The references' counts, for orders 1 to 4. `caption` is the reference, 0 to R - 1.
        richest: For orders 1 to 4, each n-gram of an image's references and its count in the reference that has it
            most often. `caption` is the image.
    """

    ids: Ints
    vocabulary: tuple[str, ...]
    candidate_length: Ints
    reference_length: Ints
    image: Ints
    candidates: tuple[NgramCounts, ...]
    references: tuple[NgramCounts, ...]
    richest: tuple[NgramCounts, ...]

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
    number: defaultdict[str, int] = defaultdict(count().__next__)
    # All captions are split in one call, each followed by a word that none has, to tell where it ends.
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
    candidate_counts, reference_counts, richest = [], [], []
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
        richest.append(_richest(reference_counts[-1], image))
    return Corpus(
        ids=ids,
        vocabulary=tuple(number),
        candidate_length=length[:num_images],
        reference_length=length[num_images:],
        image=image,
        candidates=tuple(candidate_counts),
        references=tuple(reference_counts),
        richest=tuple(richest),
    )


def count_ids(ids: Ints, length: Ints, vocabulary: int) -> tuple[NgramCounts, ...]:
    """Count the n-grams of captions given as numbers, for orders 1 to 4.

    Args:
        ids: int64 `[T]`, the words of all captions, one after the other, 0 to `vocabulary - 1`.
        length: int64, the words of each caption.
        vocabulary: How many words there may be.
    """
    caption = np.repeat(np.arange(len(length)), length)
    left = np.repeat(np.cumsum(length), length) - np.arange(len(ids))  # words from here to the caption's end
    ngram = np.zeros_like(ids)
    counts = []
    for order in range(1, MAX_ORDER + 1):
        # An n-gram is the n-gram one shorter that begins here, and the word after it.
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


def _richest(references: NgramCounts, image: Ints) -> NgramCounts:
    """Each image's n-grams with the largest of the references' counts."""
    size = max(references.num_ngrams, 1)
    # Sorted together with their counts, the last of each image's n-gram has the largest.
    bits = int(references.count.max(initial=1)).bit_length()
    entry = np.sort((image[references.caption] * size + references.ngram) << bits | references.count)
    key = entry >> bits
    last = np.flatnonzero(np.diff(key, append=-1))
    count = entry[last] & ((1 << bits) - 1)
    return replace(references, caption=key[last] // size, ngram=key[last] % size, count=count)


def find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each of `wanted` stands in sorted, distinct `keys`, and whether it is there at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
