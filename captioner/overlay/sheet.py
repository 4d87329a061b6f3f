"""Where did each word look, on one picture? A contact sheet: the photo, then one tile per word."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.caption import Caption, Word
from captioner.overlay.colour import COLOURS, Scale, blend, upper_end
from captioner.overlay.fonts import Font, font_for
from captioner.overlay.numbers import percent

_PAPER, _INK, _QUIET = (252, 251, 249), (28, 28, 30), (112, 112, 118)
_MARGIN, _GAP = 28, 18
_TEXT, _LABEL, _SMALL = 26, 19, 13
_LEADING = 20  # from one small line to the next
_TALLEST = 1.4  # height of a tile, in its widths; taller photos are drawn narrower


def contact_sheet(
    photo: NDArray[np.uint8],
    caption: Caption,
    *,
    scale: Scale = "caption",
    columns: int = 4,
    tile_width: int = 280,
) -> Image.Image:
    """Draw the photo and, for each word, where the model looked when it wrote it.

    Under each tile stand the word, its probability and how much of its attention fell on the picture. A
    colour bar tells what the colours stand for.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        scale: "caption": one scale for all words; "word": each word has its own, told under its tile.
        columns: Tiles in a row.
        tile_width: Width of a tile in pixels.

    Returns:
        An RGB image.
    """
    columns = min(columns, len(caption.words) + 1)
    width = 2 * _MARGIN + columns * tile_width + (columns - 1) * _GAP
    height = min(max(1, round(tile_width * photo.shape[0] / photo.shape[1])), round(tile_width * _TALLEST))
    small = _fit(photo, tile_width, height)
    title = _wrap(caption.text or "(no words)", font_for(caption.text, _TEXT), width - 2 * _MARGIN)
    first = _MARGIN + len(title) * round(_TEXT * 1.35) + _GAP
    step = height + 2 * _GAP + _LABEL + _SMALL + 8
    rows = math.ceil((len(caption.words) + 1) / columns)
    notes = _wrap(_note(caption), font_for(_note(caption), _SMALL), width - 2 * _MARGIN)
    bottom = (len(notes) + 2) * _LEADING if caption.words else 0
    sheet = Image.new("RGB", (width, first + rows * step + bottom + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = font_for(caption.text, _TEXT)
    for number, line in enumerate(title):
        draw.text((_MARGIN, _MARGIN + number * round(_TEXT * 1.35)), line, _INK, font)
    for place in range(len(caption.words) + 1):
        left = _MARGIN + place % columns * (tile_width + _GAP)
        top = first + place // columns * step
        tile = small if place == 0 else blend(small, caption, place - 1, scale=scale)
        sheet.paste(Image.fromarray(tile), (left + (tile_width - tile.shape[1]) // 2, top))
        if place:
            _label(draw, caption.words[place - 1], (left, top + height + 8), tile_width, scale)
    if caption.words:
        _colour_bar(sheet, caption, scale, first + rows * step, notes)
    return sheet


def _label(draw: ImageDraw.ImageDraw, word: Word, at: tuple[int, int], width: int, scale: Scale) -> None:
    font = font_for(word.text, _LABEL)
    draw.text(at, _shorten(word.text, font, width), _INK, font)
    probability, looked = percent(math.exp(word.logprob)), percent(word.visual_mass)
    facts = f"probability {probability} · on the picture {looked}"
    if scale == "word":
        facts += f" · lightest {percent(float(np.max(word.map)))}"
    small = font_for(facts, _SMALL)
    if small.getlength(facts) > width:  # a narrow tile
        facts = (
            facts.replace("probability", "p").replace("on the picture", "picture").replace("lightest", "most")
        )
    draw.text((at[0], at[1] + _LABEL + 6), _shorten(facts, small, width), _QUIET, small)


def _colour_bar(sheet: Image.Image, caption: Caption, scale: Scale, top: int, notes: list[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    length, thick = min(360, sheet.width - 2 * _MARGIN), 12
    levels = np.linspace(0, 255, length).round().astype(np.uint8)
    bar = np.broadcast_to(COLOURS[levels], (thick, length, 3))
    sheet.paste(Image.fromarray(np.ascontiguousarray(bar)), (_MARGIN, top))
    font = font_for("0", _SMALL)
    below = top + thick + 5
    draw.text((_MARGIN, below), "0", _QUIET, font)
    end = percent(upper_end(caption, 0, scale)) if scale == "caption" else "the word's own most"
    draw.text((_MARGIN + length, below), end, _QUIET, font, anchor="ra")
    for number, line in enumerate(notes):
        draw.text((_MARGIN, below + (number + 1) * _LEADING), line, _QUIET, font_for(line, _SMALL))


def _note(caption: Caption) -> str:
    """What the colours mean, in words."""
    rows, cols = caption.words[0].map.shape if caption.words else (1, 1)
    note = f"Share of a word's attention on one of {rows} by {cols} cells."
    note += f" Spread evenly, each would get {percent(1 / (rows * cols))}."
    top, left, bottom, right = caption.geometry.view
    high, wide = caption.geometry.size
    if top > 0 or left > 0 or bottom < high or right < wide:
        note += " Hatched parts were cropped away and not seen."
    return note


def _fit(photo: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The whole photo, as large as fits into `width` × `height`."""
    shrink = min(width / photo.shape[1], height / photo.shape[0])
    size = (max(1, round(photo.shape[1] * shrink)), max(1, round(photo.shape[0] * shrink)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(photo)).resize(size, Image.Resampling.LANCZOS))


def _wrap(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shorten(line, font, width) for line in lines]


def _shorten(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
