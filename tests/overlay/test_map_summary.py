from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from captioner.caption import Caption
from captioner.image.geometry import ImageGeometry
from captioner.overlay.map_selection import select_maps
from captioner.overlay.map_summary import NINTHS, entropy, ninths, summary, where
from captioner.overlay.numbers import percent

MakeCaption = Callable[..., Caption]
WHOLE = ImageGeometry((90, 60), 1, (0.0, 0.0, 90.0, 60.0), (32, 32))


@pytest.mark.parametrize("part", range(9))
def test_a_spot_is_told_where_it_is(part: int) -> None:
    map_ = np.zeros((6, 6), np.float32)
    map_[part // 3 * 2, part % 3 * 2 + 1] = 0.4
    assert where(map_, WHOLE) == f"strongest at the {NINTHS[part]} (100% of it)"


def test_a_cell_on_a_border_counts_on_both_sides() -> None:
    map_ = np.array([[0.2, 0.6]], np.float32)
    parts = ninths(map_, WHOLE).reshape(3, 3)
    np.testing.assert_allclose(parts.sum(axis=0), [0.25 * 2 / 3, 0.25 / 3 + 0.25, 0.5], rtol=1e-5)
    np.testing.assert_allclose(parts.sum(axis=1), 1 / 3, rtol=1e-5)


def test_places_are_those_of_the_photo_and_not_of_what_the_model_saw() -> None:
    cropped = ImageGeometry((90, 90), 1, (0.0, 60.0, 90.0, 90.0), (32, 32))
    map_ = np.zeros((3, 3), np.float32)
    map_[0, 0] = 1
    assert where(map_, cropped) == "strongest at the upper right (100% of it)"


def test_an_even_map_is_called_spread_and_an_empty_one_nowhere() -> None:
    assert where(np.ones((6, 6), np.float32), WHOLE).startswith("spread over the photo, most at the ")
    assert where(np.zeros((6, 6), np.float32), WHOLE) == "nowhere on the photo"
    assert where(-np.ones((6, 6), np.float32), WHOLE) == "nowhere on the photo"


@pytest.mark.parametrize(
    ("map_", "bits"), [([[1, 0]], 0), ([[0.1] * 4] * 4, 4), ([[0, 0]], 0), ([[-5, 1, 1]], 1)]
)
def test_entropy_is_in_bits(map_: list[list[float]], bits: float) -> None:
    assert entropy(np.array(map_, np.float32)) == pytest.approx(bits, abs=1e-6)


def test_a_word_is_summed_up(make_caption: MakeCaption) -> None:
    maps = np.full((1, 1, 1, 3, 3), 0.02, np.float32)
    maps[0, 0, 0, 0, 0] = 0.34
    caption = make_caption("dog", size=(90, 60), maps=maps)
    probability = percent(float(np.exp(caption.words[0].logprob)))
    assert summary(caption, 0, select_maps(caption)) == (
        f"dog, probability {probability}: attention strongest at the upper left (68% of it); most on one cell 34%"
    )
