from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.errors import UsageError
from captioner.overlay.colour import (
    AGAINST,
    COLOURS,
    FOR,
    OPACITY,
    UNSEEN,
    UNSEEN_LINE,
    blend,
    colours_of,
    upper_end,
)
from captioner.overlay.map_selection import MapSelection, select_maps

MakeCaption = Callable[..., Caption]

# Simulations of full red-, green- and blue-blindness on linear RGB: Machado, Oliveira and Fernandes 2009, table 1.
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lightness(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*, 0–100, of linear sRGB `[n, 3]`."""
    y = np.clip(linear @ [0.2126, 0.7152, 0.0722], 0, 1)
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_more_is_lighter_in_even_steps_for_every_eye(kind: str) -> None:
    srgb = COLOURS / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ BLINDNESS[kind].T
    steps = np.diff(lightness(linear)[::15])
    assert (steps > 0).all()
    assert lightness(linear)[0] < 2
    assert lightness(linear)[-1] > 95
    assert steps.max() / steps.min() < 3


def test_the_lightest_colour_is_of_the_caption_or_of_the_word(make_caption: MakeCaption) -> None:
    caption = make_caption()
    peaks = [float(word.map.max()) for word in caption.words]
    assert upper_end(select_maps(caption), 1, "word") == peaks[1]
    assert upper_end(select_maps(caption), 1, "caption") == max(peaks)
    empty = make_caption(maps=np.zeros((3, 1, 1, 4, 5), np.float32))
    assert upper_end(select_maps(empty), 0, "word") > 0


def test_blend_is_photo_and_colour_of_the_map(make_caption: MakeCaption) -> None:
    maps = np.zeros((1, 1, 1, 2, 2), np.float32)
    maps[0, 0, 0, 1, 0] = 0.5
    caption = make_caption("dog", size=(40, 40), maps=maps)
    photo = np.full((40, 40, 3), 200, np.uint8)
    mixed = blend(photo, caption, 0)
    np.testing.assert_array_equal(mixed[35, 5], np.rint(200 * (1 - OPACITY) + COLOURS[255] * OPACITY))
    np.testing.assert_array_equal(mixed[5, 35], np.rint(200 * (1 - OPACITY) + COLOURS[0] * OPACITY))
    np.testing.assert_array_equal(photo, 200)


def test_what_was_cropped_away_is_grey_and_not_dark(make_caption: MakeCaption) -> None:
    caption = make_caption("dog", size=(40, 80), view=(0, 20, 40, 60))
    mixed = blend(np.zeros((20, 40, 3), np.uint8), caption, 0)
    outside = np.concatenate([mixed[:, :10], mixed[:, 30:]], axis=1)
    greys = {round(UNSEEN * OPACITY), round(UNSEEN_LINE * OPACITY)}
    assert set(np.unique(outside).tolist()) == greys


def luminance(table: NDArray[np.uint8], kind: str) -> NDArray[np.float64]:
    srgb = table / 255
    linear: NDArray[np.float64] = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen: NDArray[np.float64] = linear @ BLINDNESS[kind].T
    return seen


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("table", [FOR, AGAINST], ids=["for", "against"])
def test_signed_colours_get_lighter_from_zero_in_even_steps(table: NDArray[np.uint8], kind: str) -> None:
    steps = np.diff(lightness(luminance(table, kind))[::15])
    assert (steps > 0).all()
    assert steps[1:].max() / steps[1:].min() < 4


@pytest.mark.parametrize("kind", BLINDNESS)
def test_for_and_against_are_told_apart_by_every_eye(kind: str) -> None:
    """In colour, not in lightness: their difference grows to more than 20 of 255 before they are a third of the way."""
    ours = [np.clip(luminance(table, kind), 0, 1) ** (1 / 2.2) * 255 for table in (FOR, AGAINST)]
    apart = np.abs(ours[0] - ours[1]).max(axis=1)
    assert apart[80:230].min() > 40
    grey = [lightness(luminance(table, "none")) for table in (FOR, AGAINST)]
    assert np.abs(grey[0] - grey[1]).max() < 12


def test_levels_become_colours() -> None:
    levels = np.array([-2, -1, 0, 1, 2], np.float32)
    ends = [colours_of(levels, signed=signed).tolist() for signed in (False, True)]
    assert ends[0] == [COLOURS[i].tolist() for i in (0, 0, 0, 255, 255)]
    assert ends[1] == [
        AGAINST[255].tolist(),
        AGAINST[255].tolist(),
        FOR[0].tolist(),
        *[FOR[255].tolist()] * 2,
    ]


def test_a_signed_map_shows_both_sides_on_one_scale(make_caption: MakeCaption) -> None:
    caption = make_caption("dog", size=(40, 40), grid=(2, 2))
    against = MapSelection(np.array([[[-0.5, 0], [0, 0.25]]], np.float32), "occlusion", "nats")
    mixed = blend(np.zeros((40, 40, 3), np.uint8), caption, 0, selection=against)
    np.testing.assert_array_equal(mixed[0, 0], np.rint(AGAINST[255] * OPACITY))
    np.testing.assert_array_equal(mixed[-1, -1], np.rint(FOR[128] * OPACITY))


@pytest.mark.parametrize("index", [-1, 3])
def test_a_word_that_is_not_there_is_refused(make_caption: MakeCaption, index: int) -> None:
    with pytest.raises(UsageError, match=f"word {index}.*0 to 2"):
        blend(np.zeros((4, 4, 3), np.uint8), make_caption(), index)
    with pytest.raises(UsageError, match=r"word 0.*no words"):
        blend(np.zeros((4, 4, 3), np.uint8), make_caption(""), 0)
