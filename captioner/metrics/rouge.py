"""ROUGE-L (Lin 2004), as in coco-caption.

    F = (1 + β²) P R / (R + β² P),   P = maxⱼ LCS(c, sⱼ) / |c|,   R = maxⱼ LCS(c, sⱼ) / |sⱼ|,   β = 1.2

LCS is the length of the longest common subsequence. As in coco-caption, the maxima of P and R may come from different
references, and an empty caption has one token, the empty string, since tokens are separated by single blanks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BETA_SQUARED = 1.2**2


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """ROUGE-L of each image, float64 `[I]`, 0–1. The corpus value is the mean.

    Args:
        candidates: One tokenized caption for each image, tokens separated by one blank.
        references: At least one for each image, in the order of `candidates`.
    """
    pairs = zip(candidates, references, strict=True)
    return np.array([_rouge_l(candidate, of_image) for candidate, of_image in pairs], np.float64)


def _rouge_l(candidate: str, references: Sequence[str]) -> float:
    words = candidate.split(" ")
    positions: dict[str, int] = {}
    for index, word in enumerate(words):
        positions[word] = positions.get(word, 0) | 1 << index
    all_ones = (1 << len(words)) - 1
    precision = recall = 0.0
    for reference in references:
        other = reference.split(" ")
        # Longest common subsequence with one row of its table as the bits of an integer (Hyyrö 2004): a 0 bit marks a
        # column in which the length grows by one.
        row = all_ones
        for word in other:
            if matches := row & positions.get(word, 0):
                row = (row + matches | row - matches) & all_ones
        common = len(words) - row.bit_count()
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(other))
    if not (precision and recall):
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)
