"""Layout of a vector figure for papers: tiles, words and the scale, in points.

`svg.py` and `pdf.py` write it: text stays text, photos are embedded at 300 dots per inch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.overlay import legend
from captioner.overlay.colour import Scale, blend
from captioner.overlay.fonts import font_for
from captioner.overlay.map_selection import MapSelection, select_maps
from captioner.overlay.map_summary import summary
from captioner.overlay.numbers import percent
from captioner.overlay.picture import fit
from captioner.overlay.typeset import shorten, wrap

_GAP, _UNDER = 7.0, 24.0  # between tiles, and below a tile for its text
_TITLE, _WORD, _SMALL = 11.0, 8.5, 6.5  # font sizes
_BAR, _THICK = 150.0, 6.0  # the scale
_DOTS = 300 / 72  # pixels per point
_TALLEST = 1.4  # largest height of a tile, in its widths


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text.

    Attributes:
        x: Position of its start, middle or end, as `anchor` says.
        y: Baseline.
        text: The text.
        size: Font size in points.
        quiet: Whether it is drawn in a lighter colour.
        anchor: "start", "middle" or "end".
    """

    x: float
    y: float
    text: str
    size: float
    quiet: bool = False
    anchor: str = "start"


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """An embedded picture uint8 `[H, W, 3]`, its position and size in points, and its description."""

    x: float
    y: float
    width: float
    height: float
    pixels: NDArray[np.uint8]
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Bar:
    """The colour scale: its position and size in points, and uint8 `[stops, 3]`, colours from left to right."""

    x: float
    y: float
    width: float
    height: float
    colours: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """Everything that is drawn, in points from the upper left corner.

    Attributes:
        width: Width in points.
        height: Height in points.
        title: Title of the document.
        tiles: Photo and maps.
        texts: All texts.
        bar: The scale; None for a caption without words.
    """

    width: float
    height: float
    title: str
    tiles: tuple[Tile, ...]
    texts: tuple[Text, ...]
    bar: Bar | None


def lay_out(
    photo: NDArray[np.uint8],
    caption: Caption,
    *,
    scale: Scale = "caption",
    selection: MapSelection | None = None,
    columns: int = 5,
    width: float = 504.0,
) -> Figure:
    """Lay out the photo and a tile for each word.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        scale: As in `contact_sheet`.
        selection: The maps; by default those of the first explanation.
        columns: Tiles per row.
        width: Width in points; by default 7 inches, the text width of a two-column page.

    Returns:
        The figure.
    """
    selection = selection or select_maps(caption)
    cell = (width - (columns - 1) * _GAP) / columns
    high = min(cell * photo.shape[0] / photo.shape[1], cell * _TALLEST)
    small = fit(photo, round(cell * _DOTS), max(1, round(high * _DOTS)))
    texts = [
        Text(0, _TITLE * (1 + 1.3 * number), line, _TITLE)
        for number, line in enumerate(_wrap(caption.text or "(no words)", _TITLE, width))
    ]
    top = len(texts) * _TITLE * 1.3 + 8
    tiles = []
    for place in range(len(caption.words) + 1):
        x, y = place % columns * (cell + _GAP), top + place // columns * (high + _UNDER)
        pixels = small if place == 0 else blend(small, caption, place - 1, scale=scale, selection=selection)
        said = caption.text if place == 0 else summary(caption, place - 1, selection)
        tiles.append(Tile(x, y, small.shape[1] / _DOTS, small.shape[0] / _DOTS, pixels, said))
        if place:
            word = caption.words[place - 1]
            probability = percent(math.exp(word.logprob))
            room = cell - _width(probability, _SMALL) - 4
            texts.append(Text(x, y + high + 9.5, _shorten(word.text, _WORD, room), _WORD))
            texts.append(Text(x + cell, y + high + 9.5, probability, _SMALL, quiet=True, anchor="end"))
    y = top + math.ceil((len(caption.words) + 1) / columns) * (high + _UNDER) - 4
    if not caption.words:
        return Figure(width, y, caption.text, tuple(tiles), tuple(texts), None)
    bar = Bar(0, y, _BAR, _THICK, legend.ramp(33, signed=selection.signed))
    for share, label in legend.ticks(selection, None, scale):
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        texts.append(Text(share * _BAR, y + _THICK + 8, label, _SMALL, quiet=True, anchor=anchor))
    remarks = f"{legend.note(caption, selection)} Percentages beside words are their probabilities."
    for number, line in enumerate(_wrap(remarks, _SMALL, width - _BAR - 14)):
        texts.append(Text(_BAR + 14, y + 5 + number * _SMALL * 1.35, line, _SMALL, quiet=True))
        bottom = y + 5 + number * _SMALL * 1.35
    return Figure(width, max(bottom, y + _THICK + 8) + 4, caption.text, tuple(tiles), tuple(texts), bar)


# Pillow measures in pixels at a large font size; fonts of PDF and SVG viewers are about as wide.
def _wrap(text: str, size: float, width: float) -> list[str]:
    return wrap(text, font_for(text, 40), width * 40 / size * 0.97)


def _shorten(text: str, size: float, width: float) -> str:
    return shorten(text, font_for(text, 40), width * 40 / size)


def _width(text: str, size: float) -> float:
    return font_for(text, 40).getlength(text) * size / 40
