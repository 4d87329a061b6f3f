from __future__ import annotations

import json

import numpy as np
import pytest

from captioner.errors import DataError, UsageError
from captioner.metrics.report import score_captions
from captioner.metrics.significance import compare_captions

QUICK = ("BLEU", "ROUGE-L", "CIDEr-D")
WORDS = [
    "a",
    "dog",
    "cat",
    "man",
    "runs",
    "sits",
    "on",
    "the",
    "beach",
    "street",
    "red",
    "big",
    "small",
    "with",
    "two",
]


def captions(seed: int, count: int = 60, length: int = 8) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, length)) for _ in range(count)]


REFERENCES = {str(i): [one, two] for i, (one, two) in enumerate(zip(captions(1), captions(2), strict=True))}
POOR = {str(i): text for i, text in enumerate(captions(3))}
GOOD = {image: " ".join(texts[0].split()[:6]) for image, texts in REFERENCES.items()}


def test_the_interval_of_a_large_gain_is_above_zero_and_contains_the_difference() -> None:
    comparison = compare_captions(POOR, GOOD, REFERENCES, metrics=QUICK, resamples=300)
    first, second = (score_captions(c, REFERENCES, metrics=QUICK) for c in (POOR, GOOD))
    assert (comparison.first, comparison.second) == (first, second)
    for name, difference in comparison.differences.items():
        assert difference.value == pytest.approx(second.corpus[name] - first.corpus[name])
        assert 0 < difference.low < difference.value < difference.high


def test_the_difference_of_equal_captions_is_exactly_zero() -> None:
    comparison = compare_captions(POOR, POOR, REFERENCES, metrics=QUICK, resamples=100)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in comparison.differences.values())


def test_swapping_the_sets_negates_the_interval() -> None:
    forward = compare_captions(POOR, GOOD, REFERENCES, metrics=("BLEU",), resamples=200).differences["BLEU-4"]
    backward = compare_captions(GOOD, POOR, REFERENCES, metrics=("BLEU",), resamples=200).differences[
        "BLEU-4"
    ]
    assert (backward.value, backward.low, backward.high) == pytest.approx(
        (-forward.value, -forward.high, -forward.low)
    )


def test_the_interval_of_a_mean_agrees_with_the_normal_approximation() -> None:
    comparison = compare_captions(POOR, GOOD, REFERENCES, metrics=("ROUGE-L",), resamples=4000)
    gains = np.array(
        [
            comparison.second.images[image]["ROUGE-L"] - comparison.first.images[image]["ROUGE-L"]
            for image in REFERENCES
        ]
    )
    half = 1.96 * gains.std() / np.sqrt(len(gains))
    difference = comparison.differences["ROUGE-L"]
    assert difference.low == pytest.approx(gains.mean() - half, abs=0.15 * half)
    assert difference.high == pytest.approx(gains.mean() + half, abs=0.15 * half)


def test_undefined_differences_are_null_in_json() -> None:
    comparison = compare_captions({"1": "a"}, {"1": "b"}, {"1": ["a"]}, metrics=("CIDEr-D",), resamples=100)
    assert json.loads(comparison.differences_as_json()) == {
        "CIDEr-D": {"value": None, "low": None, "high": None}
    }


def test_images_that_only_one_set_has_are_named() -> None:
    with pytest.raises(DataError, match=r"no candidate \(7\)"):
        compare_captions(POOR, {k: v for k, v in GOOD.items() if k != "7"}, REFERENCES, metrics=QUICK)


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(UsageError, match="resamples=10"):
        compare_captions(POOR, GOOD, REFERENCES, metrics=QUICK, resamples=10)
