"""Colour maps, and blending of a map with a photo.

The colour map is "magma" of S. van der Walt and N. Smith (2015, CC0): even steps in perceived lightness, so that it
reads the same in grey and with any colour blindness. Its dark end dims unattended parts; its light end keeps attended
parts visible. Signed maps have two ramps from black, orange for positive and blue for negative values, which are
distinguishable with any colour vision. Both take even and equal steps of lightness L*, so that equal magnitudes are
equally light.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.overlay.map_selection import MapSelection, select_maps

Scale = Literal["caption", "word"]

OPACITY = 0.6
"""Opacity of the colours over the photo, 0–1."""

UNSEEN, UNSEEN_LINE, UNSEEN_STEP = 64, 104, 9
"""Grey of cropped parts, grey of the hatching on them, and pixels between its lines: cropped parts must differ from
unattended ones."""

_ANCHORS = """
000004 030312 0a0822 130d34 1d1147 29115a 36106b 440f76 50127c 5d177f 691c81 762181 822681 8f2a81 9c2e7f
a9337d b6367a c33b75 cf4070 db476a e65164 ee5c5e f46a5c f9785d fb8861 fd9668 fea571 feb47b fec287 fed194
fde0a1 fceeb0 fcfdbf"""
# Hues 45° to 92° and 262° to 225° of OKLab (B. Ottosson, 2020), chroma as large as sRGB allows, at most 0.17.
_FOR = """
000000 1a0500 270b00 301000 391600 411b00 4a2100 532700 5c2d00 653400 6e3a00 774100 804800 894f00 925600
9b5e00 a36500 ac6d00 b57500 be7d00 c68500 cf8d00 d89600 e09e00 e8a700 f1b000 f4ba34 f5c559 f7cf76 f8d990
fae3a9 fdedc1 fff6db"""
_AGAINST = """
000002 000828 001137 001840 001e4a 002553 002c5c 003366 003a6f 004179 004982 00518c 005895 00609e 0068a8
0070b1 0079bb 0081c4 008acd 0092d7 009be0 00a4e9 00adf3 00b6fc 30beff 51c6ff 6bceff 82d6ff 97ddff ace5ff
c1ecff d6f2ff eaf9ff"""


def _table(anchors_of: str) -> NDArray[np.uint8]:
    anchors = np.array([list(bytes.fromhex(anchor)) for anchor in anchors_of.split()], dtype=np.float64)
    at, steps = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
    return np.stack([np.interp(steps, at, anchors[:, c]) for c in range(3)], axis=1).round().astype(np.uint8)


COLOURS = _table(_ANCHORS)
"""uint8 `[256, 3]`: the RGB colour of each level, lowest to highest."""

FOR, AGAINST = _table(_FOR), _table(_AGAINST)
"""The same for signed maps: positive values (for the word) and negative values (against it)."""


def upper_end(selection: MapSelection, index: int, scale: Scale) -> float:
    """The value that gets the lightest colour.

    Args:
        selection: The maps of a caption.
        index: Index of the word.
        scale: "caption": one scale for all words, so that they can be compared; "word": one for each word, which also
            shows the shape of weak maps, as light as strong ones.

    Returns:
        The largest magnitude of a cell; above 0.

    Raises:
        UsageError: If there is no such word.
    """
    one = selection.of(index)
    return float(np.abs(selection.maps if scale == "caption" else one).max(initial=0.0)) or 1.0


def colours_of(levels: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Colours of levels.

    Args:
        levels: `[...]`, 0 to 1, or -1 to 1 where signed; clipped.
        signed: Whether levels below 0 have colours of their own.

    Returns:
        uint8 `[..., 3]`, RGB.
    """
    steps = np.rint(np.abs(np.clip(levels, -1 if signed else 0, 1)) * 255).astype(np.uint8)
    colours: NDArray[np.uint8] = COLOURS[steps]
    if signed:
        colours = np.where((levels < 0)[..., None], AGAINST[steps], FOR[steps])
    return colours


def blend(
    photo: NDArray[np.uint8],
    caption: Caption,
    index: int,
    *,
    scale: Scale = "caption",
    selection: MapSelection | None = None,
) -> NDArray[np.uint8]:
    """Blend one word's map with the photo.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        index: Index of the word.
        scale: As in `upper_end`.
        selection: The maps; by default those of the first explanation.

    Returns:
        uint8 `[H, W, 3]`. Parts outside the model's input are hatched grey.

    Raises:
        UsageError: If there is no such word.
    """
    rows, cols = photo.shape[:2]
    selection = selection or select_maps(caption)
    numbers = caption.geometry.to_original(selection.of(index), size=(rows, cols))
    seen = (
        caption.geometry.to_original(np.ones((1, 1), np.float32), size=(rows, cols), resample="nearest") > 0
    )
    colour = colours_of(numbers / upper_end(selection, index, scale), signed=selection.signed).astype(
        np.float32
    )
    on_line = np.add.outer(np.arange(rows), np.arange(cols)) % UNSEEN_STEP == 0
    colour = np.where(seen[..., None], colour, np.where(on_line, UNSEEN_LINE, UNSEEN)[..., None])
    mixed: NDArray[np.uint8] = np.rint(photo * (1 - OPACITY) + colour * OPACITY).astype(np.uint8)
    return mixed
