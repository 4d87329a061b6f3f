"""How many of a candidate's n-grams stand in some reference? BLEU (Papineni et al. 2002), as in coco-caption.

Clipped n-gram precision, the reference length closest to the candidate's (the shorter of two equally close),
no smoothing but for the tiny constants that coco-caption uses against division by zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import MAX_ORDER, Corpus, Ints, find

_SMALL = 1e-9
_TINY = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class Bleu:
    """What BLEU is computed from, image by image.

    Attributes:
        correct: int64 `[I, 4]`, n-grams of orders 1 to 4 found in a reference.
        total: int64 `[I, 4]`, n-grams in the candidate.
        length: int64 `[I]`, words in the candidate.
        closest: int64 `[I]`, words in the reference closest in length.
    """

    correct: Ints
    total: Ints
    length: Ints
    closest: Ints

    def images(self) -> NDArray[np.float64]:
        """BLEU-1 to BLEU-4 of each image alone, float64 `[I, 4]`, 0–1."""
        return _score(self.correct, self.total, self.length, self.closest)

    def corpus(self, draws: Ints) -> NDArray[np.float64]:
        """BLEU-1 to BLEU-4 of whole corpora, float64 `[S, 4]`; counts are added up before they are divided.

        Args:
            draws: int64 `[S, I]`, how often each corpus has each image.
        """
        return _score(draws @ self.correct, draws @ self.total, draws @ self.length, draws @ self.closest)


def bleu(corpus: Corpus) -> Bleu:
    """Count for BLEU-1 to BLEU-4."""
    length = corpus.candidate_length
    distance = np.abs(corpus.reference_length - length[corpus.image])
    longest = int(corpus.reference_length.max(initial=0)) + 1
    starts = np.searchsorted(corpus.image, np.arange(corpus.num_images))
    return Bleu(
        correct=np.stack([_clipped_matches(corpus, order) for order in range(MAX_ORDER)], axis=1),
        total=np.stack([np.maximum(length - order, 0) for order in range(MAX_ORDER)], axis=1),
        length=length,
        closest=np.minimum.reduceat(distance * longest + corpus.reference_length, starts) % longest,
    )


def _clipped_matches(corpus: Corpus, order: int) -> Ints:
    """`[I]`: n-grams of each candidate found in a reference, at most as often as in any one reference."""
    candidates, richest = corpus.candidates[order], corpus.richest[order]
    size = max(candidates.num_ngrams, 1)
    at, found = find(richest.caption * size + richest.ngram, candidates.caption * size + candidates.ngram)
    clipped = np.minimum(richest.count[at[found]], candidates.count[found])
    return np.bincount(candidates.caption[found], clipped, corpus.num_images).astype(np.int64)


def _score(
    correct: Ints,
    total: Ints,
    length: Ints,
    closest: Ints,
) -> NDArray[np.float64]:
    """`[I, 4]`: geometric means of the precisions of orders 1 to n, times the brevity penalty."""
    precision = (correct + _TINY) / (total + _SMALL)
    means = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, MAX_ORDER + 1))
    ratio = (length + _TINY) / (closest + _SMALL)
    brevity = np.where(ratio < 1, np.exp(np.minimum(1 - 1 / ratio, 0.0)), 1.0)
    return np.asarray(means * brevity[:, None])
