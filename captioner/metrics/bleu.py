"""BLEU-1 to BLEU-4 (Papineni et al. 2002), as in coco-caption.

    BLEU-n = BP (Πₖ₌₁ⁿ pₖ)^(1/n),    BP = exp(1 - r/c) if c < r, else 1

pₖ is the clipped precision of k-grams, c the candidate length and r the reference length closest to it (the shorter of
two equally close). No smoothing, except for the tiny constants that coco-caption adds against division by zero.
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
    """Counts that BLEU is computed from, per image.

    Attributes:
        correct: int64 `[I, 4]`, n-grams of orders 1 to 4 that occur in a reference, clipped.
        total: int64 `[I, 4]`, n-grams in the candidate.
        length: int64 `[I]`, words in the candidate.
        closest: int64 `[I]`, words in the reference closest in length.
    """

    correct: Ints
    total: Ints
    length: Ints
    closest: Ints

    def images(self) -> NDArray[np.float64]:
        """BLEU-1 to BLEU-4 of each single image, float64 `[I, 4]`, 0–1."""
        return _score(self.correct, self.total, self.length, self.closest)

    def corpus(self, draws: Ints) -> NDArray[np.float64]:
        """BLEU-1 to BLEU-4 of resampled corpora, float64 `[S, 4]`, from summed counts.

        Args:
            draws: int64 `[S, I]`, how often each corpus contains each image.
        """
        return _score(draws @ self.correct, draws @ self.total, draws @ self.length, draws @ self.closest)


def bleu(corpus: Corpus) -> Bleu:
    """The counts of BLEU-1 to BLEU-4."""
    length = corpus.candidate_length
    difference = np.abs(corpus.reference_length - length[corpus.image])
    longest = int(corpus.reference_length.max(initial=0)) + 1
    starts = np.searchsorted(corpus.image, np.arange(corpus.num_images))
    return Bleu(
        correct=np.stack([_clipped_matches(corpus, order) for order in range(MAX_ORDER)], axis=1),
        total=np.stack([np.maximum(length - order, 0) for order in range(MAX_ORDER)], axis=1),
        length=length,
        closest=np.minimum.reduceat(difference * longest + corpus.reference_length, starts) % longest,
    )


def _clipped_matches(corpus: Corpus, order: int) -> Ints:
    """`[I]`: n-grams of each candidate that occur in a reference, each counted at most as often as in any reference."""
    candidates, maxima = corpus.candidates[order], corpus.reference_maxima[order]
    size = max(candidates.num_ngrams, 1)
    at, found = find(maxima.caption * size + maxima.ngram, candidates.caption * size + candidates.ngram)
    clipped = np.minimum(maxima.count[at[found]], candidates.count[found])
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
