from __future__ import annotations

import math

import pytest

from captioner.metrics.diversity import diversity, self_cider


def test_counts_of_a_small_set() -> None:
    found = diversity(["A dog runs.", "a dog runs", "two cats", ""], training=["A dog runs!"])
    assert found.captions == 4
    assert found.distinct_captions == 3
    assert found.vocabulary == 5
    assert found.mean_length == pytest.approx(8 / 4)
    assert found.distinct_1 == pytest.approx(5 / 8)
    assert found.distinct_2 == pytest.approx(3 / 5)
    assert found.novel == pytest.approx(2 / 4)


def test_without_training_captions_novelty_is_unknown() -> None:
    assert math.isnan(diversity(["a"]).novel)


def test_no_captions_divide_nothing_by_zero() -> None:
    assert diversity([]).mean_length == 0


def test_self_cider_goes_from_alike_to_nothing_in_common() -> None:
    found = self_cider(
        {
            "same": ["a dog runs fast", "a dog runs fast", "A dog runs fast."],
            "near": ["a dog runs fast", "a dog runs fast today", "a dog runs"],
            "far": ["one two three", "four five six", "seven eight nine"],
            "empty": ["", "."],
            "single": ["a dog"],
        }
    )
    assert found["same"] == pytest.approx(0.0, abs=1e-6)
    assert found["far"] == pytest.approx(1.0)
    assert 0.1 < found["near"] < 0.9
    assert found["empty"] == 0.0
    assert math.isnan(found["single"])
