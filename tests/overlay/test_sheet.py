from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from captioner.caption import Caption
from captioner.overlay.colour import COLOURS, blend
from captioner.overlay.sheet import contact_sheet

MakeCaption = Callable[..., Caption]

WORDS = "a brown dog runs over wet grass"


def find(sheet: NDArray[np.uint8], tile: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Every (row, col) at which `tile` stands on `sheet`, pixel for pixel."""
    corners = np.argwhere((sheet[: -len(tile), : -tile.shape[1]] == tile[0, 0]).all(axis=-1))
    return [
        (int(y), int(x))
        for y, x in corners
        if np.array_equal(sheet[y : y + tile.shape[0], x : x + tile.shape[1]], tile)
    ]


@pytest.mark.parametrize("scale", ["caption", "word"])
def test_the_photo_and_each_word_stand_in_order_on_the_sheet(make_caption: MakeCaption, scale: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    caption = make_caption(WORDS)
    sheet = np.asarray(contact_sheet(photo, caption, scale=scale, columns=3, tile_width=80))  # type: ignore[arg-type]
    tiles = [photo, *(blend(photo, caption, i, scale=scale) for i in range(7))]  # type: ignore[arg-type]
    places = [find(sheet, tile) for tile in tiles]
    assert all(len(place) == 1 for place in places)
    order = [place[0] for place in places]
    assert order == sorted(order)
    assert len({row for row, _ in order}) == 3


def test_the_colour_bar_shows_the_whole_colour_map(make_caption: MakeCaption) -> None:
    sheet = contact_sheet(np.zeros((60, 80, 3), np.uint8), make_caption(WORDS), columns=4, tile_width=200)
    bar = np.repeat(COLOURS[np.linspace(0, 255, 360).round().astype(int)][None], 12, axis=0)
    assert len(find(np.asarray(sheet), bar)) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 8000), (8000, 1), (3000, 2000)])
def test_photos_of_any_shape(make_caption: MakeCaption, shape: tuple[int, int]) -> None:
    sheet = contact_sheet(np.zeros((*shape, 3), np.uint8), make_caption("a dog", size=shape), tile_width=120)
    assert sheet.width < 600
    assert sheet.height < 600


@pytest.mark.parametrize("text", ["", "собака бежит", "犬が 走る", "w" * 300, "word " * 40])
def test_captions_of_any_text(make_caption: MakeCaption, text: str) -> None:
    sheet = contact_sheet(np.zeros((60, 80, 3), np.uint8), make_caption(text), tile_width=120)
    assert isinstance(sheet, Image.Image)
