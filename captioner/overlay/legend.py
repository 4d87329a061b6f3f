"""Colour scale of pictures: bar, labels and a note on the meaning of the colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.caption import Caption
from captioner.overlay.colour import Scale, colours_of, upper_end
from captioner.overlay.fonts import font_for
from captioner.overlay.map_selection import MapSelection
from captioner.overlay.numbers import amount, percent


def ramp(length: int, *, signed: bool) -> NDArray[np.uint8]:
    """Colours of the scale from left to right: uint8 `[length, 3]`."""
    return colours_of(np.linspace(-1 if signed else 0, 1, length, dtype=np.float32), signed=signed)


def ticks(selection: MapSelection, index: int | None, scale: Scale) -> list[tuple[float, str]]:
    """Labels of the scale and their positions, from 0 (left end) to 1 (right end).

    Args:
        selection: The maps drawn.
        index: The word drawn; None for a picture of all words.
        scale: As in `upper_end`.

    Raises:
        UsageError: If there is no such word.
    """
    if index is None and scale == "word":
        end = "the word's own maximum"
    else:
        end = amount(upper_end(selection, index or 0, scale), selection.unit) if len(selection.maps) else "1"
    if not selection.signed:
        return [(0.0, "0"), (1.0, end)]
    return [(0.0, f"−{end}" if end[0].isdigit() else "against"), (0.5, "0"), (1.0, end)]


def note(caption: Caption, selection: MapSelection) -> str:
    """The meaning of the colours, in a few sentences."""
    rows, cols = selection.maps.shape[-2:]
    cells = f"one of {rows} by {cols} cells"
    if selection.unit == "attention":
        text = f"Share of a word's attention on {cells}"
        text += "." if selection.title == "attention" else f" ({selection.title})."
        text += f" Spread evenly, each would get {percent(1 / (rows * cols))}."
    elif selection.unit == "nats":
        text = f"{selection.title.capitalize()}: nats of a word's log-probability due to {cells}."
    else:
        text = f"{selection.title.capitalize()}: relevance of {cells} for a word, without a unit."
    if selection.signed:
        text += " Orange: for the word; blue: against it."
    top, left, bottom, right = caption.geometry.view
    high, wide = caption.geometry.size
    if top > 0 or left > 0 or bottom < high or right < wide:
        text += " Hatched parts were cropped away."
    return text


def draw_scale(
    picture: Image.Image,
    ticks_: list[tuple[float, str]],
    at: tuple[int, int],
    *,
    length: int,
    thick: int,
    signed: bool,
    size: int,
    ink: tuple[int, int, int],
) -> None:
    """Draw the scale with its labels below.

    Args:
        picture: RGB; drawn in place.
        ticks_: As `ticks` returns them.
        at: Left and top, in pixels.
        length: Length of the bar, in pixels.
        thick: Thickness of the bar, in pixels.
        signed: Whether the bar has a negative half.
        size: Font size of the labels, in pixels.
        ink: Colour of the labels.
    """
    bar = np.broadcast_to(ramp(length, signed=signed), (thick, length, 3))
    picture.paste(Image.fromarray(np.ascontiguousarray(bar)), at)
    draw = ImageDraw.Draw(picture)
    font = font_for("".join(text for _, text in ticks_), size)
    for place, text in ticks_:
        anchor = {0.0: "la", 0.5: "ma", 1.0: "ra"}[place]
        draw.text((at[0] + place * length, at[1] + thick + 4), text, ink, font, anchor=anchor)
