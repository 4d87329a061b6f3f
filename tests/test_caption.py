from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from captioner.caption import Caption, Explanation, Word
from captioner.errors import UsageError
from captioner.image.geometry import ImageGeometry

MAPS = np.random.default_rng(0).random((2, 3, 4, 5, 6), dtype=np.float32)  # words, layers, heads, rows, cols
CAPTION = Caption(
    "a dog",
    tuple(Word(text, -1.0, 1.0, MAPS[k].mean(axis=(0, 1))) for k, text in enumerate(("a", "dog"))),
    -1.0,
    -2.0,
    MAPS,
    ImageGeometry((10, 12), 1, (0.0, 0.0, 10.0, 12.0), (10, 12)),
    {"occlusion": Explanation(MAPS[:, 0, 0, :2, :2], "nats")},
)


def test_a_map_is_chosen_by_word_and_method_layer_or_head() -> None:
    np.testing.assert_array_equal(CAPTION.map(1), CAPTION.words[1].map)
    np.testing.assert_array_equal(CAPTION.map(0, method="occlusion"), MAPS[0, 0, 0, :2, :2])
    np.testing.assert_array_equal(CAPTION.map(1, layer=3, head=1), MAPS[1, 2, 0])
    np.testing.assert_allclose(CAPTION.map(1, layer=2), MAPS[1, 1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(CAPTION.map(0, head=4), MAPS[0, :, 3].mean(axis=0), atol=1e-6)


def test_the_default_explanation_is_the_first_one_and_attention_is_always_there() -> None:
    assert CAPTION.explanation() is CAPTION.explanations["occlusion"]
    for chosen in (
        CAPTION.explanation("attention"),
        CAPTION.explanation("attention", layer=2),
        CAPTION.explanation(head=1),
        replace(CAPTION, explanations={}).explanation(),
    ):
        assert chosen.unit == "attention"
        assert chosen.values.shape == (2, 5, 6)
    np.testing.assert_allclose(CAPTION.explanation("attention").values, MAPS.mean(axis=(1, 2)), atol=1e-6)


def test_a_misspelt_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean occlusion\?"):
        CAPTION.map(0, method="oclusion")


def test_non_negative_maps_share_one_scale() -> None:
    maps = np.array([[[1.0, -2.0]], [[3.0, 1.0]], [[-1.0, -1.0]]], dtype=np.float32)
    assert Explanation(maps, "attention").non_negative() is maps
    assert Explanation(maps, "nats").non_negative().tolist() == [[[0.25, 0]], [[0.75, 0.25]], [[0, 0]]]
    assert Explanation(-np.abs(maps), "relevance").non_negative().tolist() == [[[0, 0]], [[0, 0]], [[0, 0]]]
    assert Explanation(maps[:0], "nats").non_negative().shape == (0, 1, 2)


@pytest.mark.parametrize(
    ("word", "choice", "message"),
    [
        (2, {}, "word_index=2.* 0 to 1"),
        (-1, {}, "word_index=-1.* 0 to 1"),
        ("dog", {}, "word_index='dog'"),
        (0, {"layer": 4}, "layer=4.* 1 to 3"),
        (0, {"layer": 0}, "layer=0"),
        (0, {"head": 5, "layer": 1}, "head=5.* 1 to 4"),
        (
            0,
            {"method": "rollout"},
            r"method=rollout .*attention, occlusion.* explain=rollout",
        ),
        (0, {"method": "occlusion", "head": 1}, "method=occlusion .*layer or head"),
    ],
)
def test_a_map_that_is_not_there_is_refused(word: Any, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CAPTION.map(word, **choice)


def test_an_empty_caption_has_no_map() -> None:
    empty = Caption("", (), -1.0, -1.0, MAPS[:0], CAPTION.geometry)
    with pytest.raises(UsageError, match=r"word_index=0 .*empty caption"):
        empty.map(0)
