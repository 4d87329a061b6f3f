"""Contact sheet of a caption: the photo, then one tile with a map per word."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.caption import Caption
from captioner.overlay import legend
from captioner.overlay.colour import Scale, blend, upper_end
from captioner.overlay.fonts import font_for
from captioner.overlay.map_selection import MapSelection, select_maps
from captioner.overlay.numbers import amount, percent
from captioner.overlay.picture import INK, PAPER, QUIET, fit
from captioner.overlay.typeset import shorten, wrap

_MARGIN, _GAP = 28, 18
_TEXT, _LABEL, _SMALL = 26, 19, 13
_LEADING = 20  # of small text
_TALLEST = 1.4  # largest height of a tile, in its widths; taller photos are drawn narrower


def contact_sheet(
    photo: NDArray[np.uint8],
    caption: Caption,
    *,
    scale: Scale = "caption",
    selection: MapSelection | None = None,
    columns: int = 4,
    tile_width: int = 280,
) -> Image.Image:
    """Draw the photo and a tile for each word.

    Below each tile are the word, its probability and its share of attention on the picture. A colour bar gives the
    scale.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        scale: As in `upper_end`; with "word" each tile's maximum is written below it.
        selection: The maps; by default those of the first explanation.
        columns: Tiles per row.
        tile_width: Width of a tile in pixels.

    Returns:
        An RGB image.
    """
    selection = selection or select_maps(caption)
    columns = min(columns, len(caption.words) + 1)
    width = 2 * _MARGIN + columns * tile_width + (columns - 1) * _GAP
    height = min(max(1, round(tile_width * photo.shape[0] / photo.shape[1])), round(tile_width * _TALLEST))
    small = fit(photo, tile_width, height)
    title = wrap(caption.text or "(no words)", font_for(caption.text, _TEXT), width - 2 * _MARGIN)
    first = _MARGIN + len(title) * round(_TEXT * 1.35) + _GAP
    step = height + 2 * _GAP + _LABEL + _SMALL + 8
    rows = math.ceil((len(caption.words) + 1) / columns)
    remarks = legend.note(caption, selection)
    notes = wrap(remarks, font_for(remarks, _SMALL), width - 2 * _MARGIN)
    bottom = (len(notes) + 2) * _LEADING if caption.words else 0
    sheet = Image.new("RGB", (width, first + rows * step + bottom + _MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = font_for(caption.text, _TEXT)
    for number, line in enumerate(title):
        draw.text((_MARGIN, _MARGIN + number * round(_TEXT * 1.35)), line, INK, font)
    for place in range(len(caption.words) + 1):
        left = _MARGIN + place % columns * (tile_width + _GAP)
        top = first + place // columns * step
        tile = small if place == 0 else blend(small, caption, place - 1, scale=scale, selection=selection)
        sheet.paste(Image.fromarray(tile), (left, top))
        if place:
            _label(draw, caption, place - 1, (left, top + height + 8), tile_width, scale, selection)
    if caption.words:
        _colour_bar(sheet, selection, scale, first + rows * step, notes)
    return sheet


def _label(
    draw: ImageDraw.ImageDraw,
    caption: Caption,
    index: int,
    at: tuple[int, int],
    width: int,
    scale: Scale,
    selection: MapSelection,
) -> None:
    word = caption.words[index]
    font = font_for(word.text, _LABEL)
    draw.text(at, shorten(word.text, font, width), INK, font)
    probability, mass = percent(math.exp(word.logprob)), percent(word.visual_mass)
    facts = f"probability {probability}"
    if selection.unit == "attention":
        facts += f" · on the picture {mass}"
    if scale == "word":
        facts += f" · lightest {amount(upper_end(selection, index, 'word'), selection.unit)}"
    small = font_for(facts, _SMALL)
    if small.getlength(facts) > width:  # a narrow tile
        facts = (
            facts.replace("probability", "p").replace("on the picture", "picture").replace("lightest", "max")
        )
    draw.text((at[0], at[1] + _LABEL + 6), shorten(facts, small, width), QUIET, small)


def _colour_bar(
    sheet: Image.Image, selection: MapSelection, scale: Scale, top: int, notes: list[str]
) -> None:
    length, thick = min(360, sheet.width - 2 * _MARGIN), 12
    legend.draw_scale(
        sheet,
        legend.ticks(selection, None, scale),
        (_MARGIN, top),
        length=length,
        thick=thick,
        signed=selection.signed,
        size=_SMALL,
        ink=QUIET,
    )
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(notes):
        place = (_MARGIN, top + thick + 5 + (number + 1) * _LEADING)
        draw.text(place, line, QUIET, font_for(line, _SMALL))
