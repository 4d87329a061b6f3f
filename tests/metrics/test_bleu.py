from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.bleu import bleu
from captioner.metrics.ngrams import count_ngrams

CAPTIONS = st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join)
CORPORA = st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=1, max_size=5)


def textbook(pairs: list[tuple[str, list[str]]]) -> list[float]:
    """BLEU-1..4 of a corpus by the formula of Papineni et al., in plain loops; 0 without a match."""
    correct, total, length, closest = [0] * 4, [0] * 4, 0, 0
    for candidate, references in pairs:
        words = candidate.split()
        length += len(words)
        closest += min((abs(len(r.split()) - len(words)), len(r.split())) for r in references)[1]
        for n in range(4):
            grams = Counter(tuple(words[i : i + n + 1]) for i in range(len(words) - n))
            most: Counter[tuple[str, ...]] = Counter()
            for reference in references:
                other = reference.split()
                most |= Counter(tuple(other[i : i + n + 1]) for i in range(len(other) - n))
            correct[n] += (grams & most).total()
            total[n] += grams.total()
    values = []
    for n in range(4):
        if not all(correct[: n + 1]):
            values.append(0.0)
            continue
        mean = math.exp(sum(math.log(correct[k] / total[k]) for k in range(n + 1)) / (n + 1))
        values.append(mean * min(1.0, math.exp(1 - closest / length)))
    return values


@given(CORPORA)
def test_corpus_and_images_follow_the_textbook(pairs: list[tuple[str, list[str]]]) -> None:
    counts = bleu(count_ngrams([c for c, _ in pairs], [r for _, r in pairs]))
    whole = counts.corpus(np.ones((1, len(pairs)), np.int64))
    for row, expected in [
        (whole[0], textbook(pairs)),
        *((row, textbook([pair])) for row, pair in zip(counts.images(), pairs, strict=True)),
    ]:
        for value, wanted in zip(row.tolist(), expected, strict=True):
            # coco-caption's constants against division by zero give a small value where the formula gives 0.
            assert value == pytest.approx(wanted, rel=1e-6) if wanted else 0 <= value < 0.05


def test_a_draw_with_an_image_twice_is_the_corpus_with_that_image_twice() -> None:
    pairs = [("a b c d e", ["a b c d"]), ("x y", ["x z", "y x w"]), ("a b", ["a b c"])]
    counts = bleu(count_ngrams([c for c, _ in pairs], [r for _, r in pairs]))
    again = [pairs[0], pairs[0], pairs[2]]
    other = bleu(count_ngrams([c for c, _ in again], [r for _, r in again]))
    drawn = counts.corpus(np.array([[2, 0, 1]]))
    assert drawn.tolist() == other.corpus(np.ones((1, 3), np.int64)).tolist()


def test_among_equally_close_references_the_shorter_counts() -> None:
    counts = bleu(count_ngrams(["a b c"], [["a b c d", "a b"]]))
    assert counts.closest.tolist() == [2]


def test_an_empty_candidate_scores_zero() -> None:
    counts = bleu(count_ngrams(["", "a"], [["a b"], [""]]))
    assert counts.images()[0].tolist() == [0.0] * 4
    assert counts.images()[1].max() < 1e-5
