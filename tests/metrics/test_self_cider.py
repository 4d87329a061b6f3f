from __future__ import annotations

import math

import pytest

from captioner.errors import DataError
from captioner.metrics.self_cider import score_self_cider, self_cider

CAPTIONS = {
    "same": ["a dog runs fast", "a dog runs fast", "A dog runs fast."],
    "near": ["a dog runs fast", "a dog runs fast today", "a dog runs"],
    "far": ["one two three", "four five six", "seven eight nine"],
    "empty": ["", "."],
}


def test_it_is_0_for_equal_captions_and_1_without_common_ngrams() -> None:
    values = self_cider({**CAPTIONS, "single": ["a dog"]})
    assert values["same"] == pytest.approx(0.0, abs=1e-6)
    assert values["far"] == pytest.approx(1.0)
    assert 0.1 < values["near"] < 0.9
    assert values["empty"] == 0.0
    assert math.isnan(values["single"])


def test_scores_are_the_mean_over_images_and_distinct_n_over_captions() -> None:
    captions = {image: CAPTIONS[image] for image in ("same", "far")}
    scores = score_self_cider(captions, {"same": ["a dog"], "far": ["one two"]})
    assert scores.corpus["self-CIDEr"] == pytest.approx(0.5, abs=1e-6)
    assert scores.corpus["distinct-1"] == pytest.approx(13 / 21)
    assert scores.corpus["distinct-2"] == pytest.approx(9 / 15)


def test_an_image_with_a_single_caption_is_refused() -> None:
    with pytest.raises(DataError, match=r"single caption.*b"):
        score_self_cider({"a": ["x", "y"], "b": ["x"]}, {"a": ["x"], "b": ["x"]})
