from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.overlay.colour import COLOURS, OPACITY, UNSEEN, UNSEEN_LINE, blend, upper_end

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
    assert upper_end(caption, 1, "word") == peaks[1]
    assert upper_end(caption, 1, "caption") == max(peaks)
    empty = make_caption(maps=np.zeros((3, 1, 1, 4, 5), np.float32))
    assert upper_end(empty, 0, "word") > 0


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
