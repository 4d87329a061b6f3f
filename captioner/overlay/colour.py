"""How does a number become a colour on a photo?

The colour map is "magma" of S. van der Walt and N. Smith (2015, CC0): even steps in perceived lightness, so
that it reads the same in grey and with any colour blindness. Its dark end dims what was not attended to;
its light end keeps visible what was.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption

Scale = Literal["caption", "word"]

OPACITY = 0.6
"""How much of the colour covers the photo, 0–1."""

UNSEEN, UNSEEN_LINE, UNSEEN_STEP = 64, 104, 9
"""Grey that covers what was cropped away, grey of the hatching on it, and pixels from line to line: "not seen" must
differ from "seen and not attended to"."""

_ANCHORS = """
000004 030312 0a0822 130d34 1d1147 29115a 36106b 440f76 50127c 5d177f 691c81 762181 822681 8f2a81 9c2e7f
a9337d b6367a c33b75 cf4070 db476a e65164 ee5c5e f46a5c f9785d fb8861 fd9668 fea571 feb47b fec287 fed194
fde0a1 fceeb0 fcfdbf"""


def _table() -> NDArray[np.uint8]:
    anchors = np.array([list(bytes.fromhex(anchor)) for anchor in _ANCHORS.split()], dtype=np.float64)
    at, steps = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
    return np.stack([np.interp(steps, at, anchors[:, c]) for c in range(3)], axis=1).round().astype(np.uint8)


COLOURS = _table()
"""uint8 `[256, 3]`: the RGB colour of each level, from none to most."""


def upper_end(caption: Caption, index: int, scale: Scale) -> float:
    """The attention that gets the lightest colour.

    Args:
        caption: The caption.
        index: The word shown.
        scale: "caption" gives all words one scale, so that they can be compared; "word" gives each its own,
            which shows the shape of weak maps as well and makes them look as strong as others.

    Returns:
        Attention on one cell, above 0.
    """
    words = caption.words if scale == "caption" else caption.words[index : index + 1]
    return max(float(np.max(word.map)) for word in words) or 1.0


def blend(
    photo: NDArray[np.uint8], caption: Caption, index: int, *, scale: Scale = "caption"
) -> NDArray[np.uint8]:
    """Lay one word's map over the photo.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        index: The word whose map is shown.
        scale: What the lightest colour stands for, see `upper_end`.

    Returns:
        uint8 `[H, W, 3]`. What the model did not see is hatched grey.
    """
    rows, cols = photo.shape[:2]
    word = caption.words[index]
    attention = caption.geometry.to_original(word.map, size=(rows, cols))
    seen = (
        caption.geometry.to_original(np.ones((1, 1), np.float32), size=(rows, cols), resample="nearest") > 0
    )
    level = np.clip(attention / upper_end(caption, index, scale), 0, 1)
    colour = COLOURS[np.rint(level * 255).astype(np.uint8)].astype(np.float32)
    on_line = np.add.outer(np.arange(rows), np.arange(cols)) % UNSEEN_STEP == 0
    colour = np.where(seen[..., None], colour, np.where(on_line, UNSEEN_LINE, UNSEEN)[..., None])
    mixed: NDArray[np.uint8] = np.rint(photo * (1 - OPACITY) + colour * OPACITY).astype(np.uint8)
    return mixed
