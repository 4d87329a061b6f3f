from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captioner.caption import Caption, Word
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
    {"occlusion": MAPS[:, 0, 0, :2, :2]},
)


def test_a_map_is_chosen_by_word_and_method_layer_or_head() -> None:
    np.testing.assert_array_equal(CAPTION.map(1), CAPTION.words[1].map)
    np.testing.assert_array_equal(CAPTION.map(0, method="occlusion"), MAPS[0, 0, 0, :2, :2])
    np.testing.assert_array_equal(CAPTION.map(1, layer=3, head=1), MAPS[1, 2, 0])
    np.testing.assert_allclose(CAPTION.map(1, layer=2), MAPS[1, 1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(CAPTION.map(0, head=4), MAPS[0, :, 3].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("word", "choice", "message"),
    [
        (2, {}, "word_index=2 must be a whole number from 0 to 1"),
        (-1, {}, "word_index=-1 must be a whole number from 0 to 1"),
        ("dog", {}, "word_index='dog' must be a whole number"),
        (0, {"layer": 4}, "layer=4 must be a whole number from 1 to 3"),
        (0, {"layer": 0}, "layer=0 must be"),
        (0, {"head": 5, "layer": 1}, "head=5 must be a whole number from 1 to 4"),
        (
            0,
            {"method": "rollout"},
            r"method=rollout was not computed \(occlusion\); ask for it by explain=rollout",
        ),
        (0, {"method": "occlusion", "head": 1}, "method=occlusion takes no layer or head"),
    ],
)
def test_a_map_that_is_not_there_is_refused(word: Any, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CAPTION.map(word, **choice)


def test_an_empty_caption_has_no_map() -> None:
    empty = Caption("", (), -1.0, -1.0, MAPS[:0], CAPTION.geometry)
    with pytest.raises(UsageError, match="word_index=0 cannot be had: the caption has no words"):
        empty.map(0)
