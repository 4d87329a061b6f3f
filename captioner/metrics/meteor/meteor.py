"""METEOR 1.5 for English.

    METEOR = (1 - γ (chunks / matches)^β) F,    F = P R / (α P + (1 - α) R)

P and R are the weighted fractions of matched words in candidate and reference, over an alignment by exact words, stems,
synonyms and paraphrases; α = 0.85, β = 0.2, γ = 0.6, and content words have weight δ = 0.75, function words 1 - δ.

Source: M. Denkowski and A. Lavie, "Meteor Universal", 2014, with its English parameters, as coco-caption runs it
(`-l en -norm`). Its tables come from an installed `pycocoevalcap`; without them only the exact and stem matchers are
used, all words have equal weight, and the metric is named `METEOR[exact+stem]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.meteor.meteor_align import WEIGHTS, Aligner, Match
from captioner.metrics.meteor.meteor_tables import MeteorTables, installed_tables
from captioner.metrics.meteor.meteor_words import meteor_words
from captioner.metrics.ngrams import Ints

FULL_NAME = "METEOR"
PARTIAL_NAME = "METEOR[exact+stem]"

_ALPHA = 0.85  # weight of recall in the harmonic mean
_BETA, _GAMMA = 0.2, 0.6  # shape and size of the fragmentation penalty
_DELTA = 0.75  # weight of a content word; a function word has 1 - _DELTA


@dataclass(frozen=True, slots=True, eq=False)
class Meteor:
    """METEOR of a set of images.

    Attributes:
        name: `METEOR`, or `METEOR[exact+stem]` where the tables are not installed.
        images: float64 `[I]`, 0–1: each image's maximum over its references.
        counts: int64 `[I, 23]`: the counts of words and matches that each image's value is computed from.
    """

    name: str
    images: NDArray[np.float64]
    counts: Ints

    def corpus(self, draws: Ints) -> NDArray[np.float64]:
        """METEOR of resampled corpora, float64 `[S]`, from summed counts; it is not a mean over images.

        Args:
            draws: int64 `[S, I]`, how often each corpus contains each image.
        """
        return np.array([_score(sums) for sums in (draws @ self.counts).tolist()])


def meteor(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    tables: MeteorTables | None = None,
) -> Meteor:
    """Score tokenized captions.

    Args:
        candidates: One tokenized, lower-cased caption for each image.
        references: At least one for each image, in the order of `candidates`.
        tables: Synonyms, paraphrases and function words; by default those of `pycocoevalcap`, if installed.
    """
    tables = tables or installed_tables()
    function_words = tables.function_words if tables else frozenset[str]()
    aligner = Aligner(tables)
    images, chosen = [], []
    for candidate, of_image in zip(candidates, references, strict=True):
        words = meteor_words(candidate)
        others = [meteor_words(reference) for reference in of_image]
        alignments = aligner.align(words, others)
        counts = [
            _count(words, other, alignment, function_words)
            for other, alignment in zip(others, alignments, strict=True)
        ]
        scores = [_score(count) for count in counts]
        best = int(np.argmax(scores))
        images.append(scores[best])
        chosen.append(counts[best])
    return Meteor(
        name=FULL_NAME if tables else PARTIAL_NAME,
        images=np.array(images, np.float64),
        counts=np.array(chosen, np.int64).reshape(-1, _COUNTS),
    )


# Counts of the candidate, then of the reference: words, function words, matched words, and for each matcher content
# words and function words; then the number of chunks, 0 where a single chunk covers all words of both.
_SIDE = 3 + 2 * len(WEIGHTS)
_COUNTS = 2 * _SIDE + 1


def _count(
    candidate: Sequence[str],
    reference: Sequence[str],
    alignment: Sequence[Match],
    function_words: frozenset[str],
) -> list[int]:
    counts = [0] * _COUNTS
    end = (-1, -1)
    for side, words in ((0, candidate), (_SIDE, reference)):
        counts[side] = len(words)
        counts[side + 1] = sum(word in function_words for word in words)
    for match in sorted(alignment):
        for side, words, begin, length in (
            (0, candidate, match.candidate, match.candidate_words),
            (_SIDE, reference, match.reference, match.reference_words),
        ):
            counts[side + 2] += length
            for word in words[begin : begin + length]:
                counts[side + 3 + 2 * match.matcher + (word in function_words)] += 1
        counts[-1] += end != (match.candidate, match.reference)
        end = (match.candidate + match.candidate_words, match.reference + match.reference_words)
    if counts[-1] == 1 and counts[2] == counts[0] and counts[_SIDE + 2] == counts[_SIDE]:
        counts[-1] = 0  # no fragmentation; nor does the reference add this chunk to the corpus
    return counts


def _score(counts: Sequence[float]) -> float:
    fractions = []
    for side in (0, _SIDE):
        words, function_words = counts[side], counts[side + 1]
        length = _DELTA * (words - function_words) + (1 - _DELTA) * function_words
        matched = sum(
            weight * (_DELTA * counts[side + 3 + 2 * matcher] + (1 - _DELTA) * counts[side + 4 + 2 * matcher])
            for matcher, weight in enumerate(WEIGHTS)
        )
        if not matched:
            return 0.0
        fractions.append(matched / length)
    precision, recall = fractions
    mean = 1.0 / ((1 - _ALPHA) / precision + _ALPHA / recall)
    fragmentation = counts[-1] / ((counts[2] + counts[_SIDE + 2]) / 2)
    return float(mean * (1 - _GAMMA * fragmentation**_BETA))
