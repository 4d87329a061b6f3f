"""Animation of the pictures of all words, as GIF or WebP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.caption import Caption
from captioner.overlay.colour import Scale
from captioner.overlay.map_selection import MapSelection
from captioner.overlay.picture import word_picture

_FIRST, _EACH, _LAST = 1200, 900, 1800  # milliseconds for the photo, each word, and the last word
_COLOURS = 256  # per frame of a GIF


def write_animation(
    path: Path,
    photo: NDArray[np.uint8],
    caption: Caption,
    *,
    scale: Scale = "caption",
    selection: MapSelection | None = None,
    width: int = 480,
) -> None:
    """Write a looping animation: first the photo, then each word with its map.

    Args:
        path: A `.gif` or `.webp` file.
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        scale: As in `word_picture`.
        selection: As in `word_picture`.
        width: Width in pixels.
    """
    places: list[int | None] = [None, *range(len(caption.words))]
    times = [_FIRST, *[_EACH] * (len(caption.words) - 1), _LAST][: len(places)]

    def frames() -> Iterator[Image.Image]:
        for index in places:
            picture = word_picture(photo, caption, index, scale=scale, selection=selection, width=width)
            yield picture if path.suffix == ".webp" else _with_palette(picture)

    first, *others = frames()
    settings = {"quality": 80, "method": 4} if path.suffix == ".webp" else {"optimize": False}
    first.save(path, save_all=True, append_images=others, duration=times, loop=0, **settings)


def _with_palette(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours of its own palette. Dithered, since bands of one colour would look like contours."""
    return picture.quantize(palette=picture.quantize(_COLOURS), dither=Image.Dither.FLOYDSTEINBERG)
