from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.rouge import rouge_l

CAPTIONS = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


def common(one: list[str], other: list[str]) -> int:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, x in enumerate(one):
        for j, y in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=4))
def test_equals_the_textbook_table(candidate: str, references: list[str]) -> None:
    words = candidate.split(" ")
    shared = [common(words, reference.split(" ")) for reference in references]
    precision = max(n / len(words) for n in shared)
    recall = max(n / len(r.split(" ")) for n, r in zip(shared, references, strict=True))
    expected = 2.44 * precision * recall / (recall + 1.44 * precision) if precision and recall else 0.0
    assert rouge_l([candidate], [references])[0] == pytest.approx(expected, abs=1e-12)


def test_precision_and_recall_may_come_from_different_references() -> None:
    value = rouge_l(["a b"], [["a b c d", "a"]])[0]
    assert value == pytest.approx(1.0)


def test_an_empty_candidate_scores_zero_against_words() -> None:
    assert rouge_l([""], [["a b"]]).tolist() == [0.0]
