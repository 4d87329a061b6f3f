from __future__ import annotations

import math

import pytest

from captioner.metrics.corpus_diversity import corpus_diversity


def test_counts_of_a_small_set() -> None:
    diversity = corpus_diversity(["A dog runs.", "a dog runs", "two cats", ""], training=["A dog runs!"])
    assert diversity.captions == 4
    assert diversity.distinct_captions == 3
    assert diversity.vocabulary == 5
    assert diversity.mean_length == pytest.approx(8 / 4)
    assert diversity.distinct_1 == pytest.approx(5 / 8)
    assert diversity.distinct_2 == pytest.approx(3 / 5)
    assert diversity.novel == pytest.approx(2 / 4)


def test_novelty_is_nan_without_training_captions() -> None:
    assert math.isnan(corpus_diversity(["a"]).novel)


def test_no_captions_are_no_division_by_zero() -> None:
    assert corpus_diversity([]).mean_length == 0
