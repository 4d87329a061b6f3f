from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.cider import cider, cider_d
from captioner.metrics.document_frequency import document_frequency
from captioner.metrics.ngrams import count_ngrams

CAPTIONS = st.lists(st.sampled_from("abcde"), max_size=8).map(" ".join)
CORPORA = st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=2, max_size=6)


def textbook(pairs: list[tuple[str, list[str]]], *, robust: bool) -> list[float]:
    """CIDEr or CIDEr-D of each image by the formulas of Vedantam et al., in plain loops."""
    frequency: Counter[tuple[str, ...]] = Counter()
    for _, references in pairs:
        frequency.update(set().union(*(grams(r, n) for r in references for n in range(1, 5))))

    def vector(caption: str, n: int) -> dict[tuple[str, ...], float]:
        return {
            gram: count * (math.log(len(pairs)) - math.log(max(1, frequency[gram])))
            for gram, count in grams(caption, n).items()
        }

    values = []
    for candidate, references in pairs:
        total = 0.0
        for reference in references:
            for n in range(1, 5):
                mine, theirs = vector(candidate, n), vector(reference, n)
                norm = math.hypot(*mine.values()) * math.hypot(*theirs.values())
                dot = sum(
                    (min(weight, theirs[gram]) if robust else weight) * theirs[gram]
                    for gram, weight in mine.items()
                    if gram in theirs
                )
                similarity = dot / norm if norm else 0.0
                if robust:
                    lengths = [max(len(c.split()) - 1, 0) for c in (candidate, reference)]
                    similarity *= math.exp(-((lengths[0] - lengths[1]) ** 2) / 72)
                total += similarity
        values.append(10 * total / 4 / len(references))
    return values


def grams(caption: str, n: int) -> Counter[tuple[str, ...]]:
    words = caption.split()
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


@given(CORPORA)
def test_both_variants_follow_the_formula(pairs: list[tuple[str, list[str]]]) -> None:
    corpus = count_ngrams([c for c, _ in pairs], [r for _, r in pairs])
    assert cider_d(corpus).tolist() == pytest.approx(textbook(pairs, robust=True), abs=1e-9)
    assert cider(corpus).tolist() == pytest.approx(textbook(pairs, robust=False), abs=1e-9)


@given(CORPORA)
def test_separately_counted_frequencies_give_equal_scores(pairs: list[tuple[str, list[str]]]) -> None:
    references = [r for _, r in pairs]
    corpus = count_ngrams([c for c, _ in pairs], references)
    frequency = document_frequency(references, "apart")
    assert cider_d(corpus, frequency).tolist() == pytest.approx(cider_d(corpus).tolist(), abs=1e-12)


def test_a_single_image_has_a_cider_with_other_frequencies_only() -> None:
    corpus = count_ngrams(["a b c d"], [["a b c d"]])
    assert np.isnan(cider_d(corpus)).all()
    elsewhere = document_frequency([["x y"], ["z"]], "elsewhere")
    assert cider_d(corpus, elsewhere)[0] == pytest.approx(10.0)


def test_repeating_a_rare_word_raises_cider_but_not_cider_d() -> None:
    references = [["a red fish swims"], ["a dog runs away"]]
    fair, gamed = (
        count_ngrams([text, "a dog runs away"], references)
        for text in ("a red fish swims", "fish fish fish fish")
    )
    assert cider_d(gamed)[0] < 0.3 * cider(gamed)[0]
    assert cider_d(fair)[0] == pytest.approx(cider(fair)[0])


def test_an_empty_candidate_scores_zero() -> None:
    assert cider_d(count_ngrams(["", "b"], [["a"], ["b"]]))[0] == 0.0
