"""Picture of one word: the photo under its map, the caption and the scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.caption import Caption
from captioner.overlay import legend
from captioner.overlay.colour import Scale, blend
from captioner.overlay.fonts import Font, font_for
from captioner.overlay.map_selection import MapSelection, select_maps
from captioner.overlay.map_summary import where
from captioner.overlay.numbers import percent
from captioner.overlay.typeset import shorten, wrap

PAPER, INK, QUIET, FAINT, ACCENT = (
    (252, 251, 249),
    (28, 28, 30),
    (108, 108, 114),
    (160, 160, 166),
    (122, 31, 115),
)
"""Colours of the background, of text, of secondary text, of the other words, and of the chosen word."""

_MARGIN, _TEXT, _SMALL = 20, 24, 14
_TALLEST = 1.4  # largest height of the photo, in widths of the picture; taller photos are drawn narrower


def word_picture(
    photo: NDArray[np.uint8],
    caption: Caption,
    index: int | None,
    *,
    scale: Scale = "caption",
    selection: MapSelection | None = None,
    width: int = 720,
) -> Image.Image:
    """Draw one word of a caption. All pictures of a caption have the same size.

    Args:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        index: Index of the word; None draws the photo and the caption alone.
        scale: As in `upper_end`.
        selection: The maps; by default those of the first explanation.
        width: Width in pixels.

    Returns:
        An RGB image.

    Raises:
        UsageError: If there is no such word.
    """
    selection = selection or select_maps(caption)
    inner = width - 2 * _MARGIN
    small = fit(photo, width, round(width * _TALLEST))
    tile = small if index is None else blend(small, caption, index, scale=scale, selection=selection)
    font = font_for(caption.text, _TEXT)
    lines = _lines([word.text for word in caption.words], font, inner)
    remarks = legend.note(caption, selection) if caption.words else ""
    notes = wrap(remarks, font_for(remarks, _SMALL), inner) if caption.words else []
    leading = round(_TEXT * 1.4)
    line = _SMALL + 7
    below = small.shape[0] + _MARGIN
    height = below + max(1, len(lines)) * leading + 10 + 2 * line + 22 + line * (1 + len(notes)) + 8
    picture = Image.new("RGB", (width, height), PAPER)
    picture.paste(Image.fromarray(tile), ((width - small.shape[1]) // 2, 0))
    draw = ImageDraw.Draw(picture)
    _sentence(draw, caption, lines, index, (_MARGIN, below), font)
    if not caption.words:
        draw.text((_MARGIN, below), caption.text or "(no words)", QUIET, font)
    if index is not None:
        top = below + len(lines) * leading + 10
        for number, facts in enumerate(_facts(caption, index, selection)):
            small_font = font_for(facts, _SMALL)
            place = (_MARGIN, top + number * line)
            draw.text(place, shorten(facts, small_font, inner), QUIET, small_font)
        _scale(picture, selection, index, scale, top + 2 * line + 6, notes)
    return picture


def fit(photo: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The whole photo at the largest size within `width` × `height`."""
    shrink = min(width / photo.shape[1], height / photo.shape[0])
    size = (max(1, round(photo.shape[1] * shrink)), max(1, round(photo.shape[0] * shrink)))
    image = Image.fromarray(np.ascontiguousarray(photo))
    # Large photos are first shrunk by an integer factor: several times faster, with no visible difference.
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _lines(words: list[str], font: Font, width: int) -> list[list[int]]:
    """Word indices of each line."""
    lines: list[list[int]] = []
    at = 0.0
    for number, word in enumerate(words):
        length = font.getlength(word + " ")
        if not lines or at + length > width:
            lines.append([])
            at = 0.0
        lines[-1].append(number)
        at += length
    return lines


def _sentence(
    draw: ImageDraw.ImageDraw,
    caption: Caption,
    lines: list[list[int]],
    index: int | None,
    at: tuple[int, int],
    font: Font,
) -> None:
    """Draw the caption with the chosen word highlighted."""
    inner = draw.im.size[0] - 2 * _MARGIN
    for row, numbers in enumerate(lines):
        x, y = float(at[0]), at[1] + row * round(_TEXT * 1.4)
        for number in numbers:
            word = shorten(caption.words[number].text, font, inner)
            colour = INK if index is None else ACCENT if number == index else FAINT
            draw.text((x, y), word, colour, font)
            length = font.getlength(word)
            if number == index:
                draw.rectangle((x, y + _TEXT + 5, x + length, y + _TEXT + 6), ACCENT)
            x += length + font.getlength(" ")


def _facts(caption: Caption, index: int, selection: MapSelection) -> tuple[str, str]:
    word = caption.words[index]
    probability = f"probability {percent(math.exp(word.logprob))}"
    return (
        f"{probability} · attention on the photo {percent(word.visual_mass)}",
        f"{selection.title} {where(selection.of(index), caption.geometry)}",
    )


def _scale(
    picture: Image.Image, selection: MapSelection, index: int, scale: Scale, top: int, notes: list[str]
) -> None:
    length, thick = min(300, (picture.width - 2 * _MARGIN) // 2), 12
    legend.draw_scale(
        picture,
        legend.ticks(selection, index, scale),
        (_MARGIN, top),
        length=length,
        thick=thick,
        signed=selection.signed,
        size=_SMALL,
        ink=QUIET,
    )
    draw = ImageDraw.Draw(picture)
    whose = f"lightest: {'this word' if scale == 'word' else 'the caption'}'s maximum"
    draw.text((_MARGIN + length + 14, top - 3), whose, QUIET, font_for(whose, _SMALL))
    for number, text in enumerate(notes):
        place = (_MARGIN, top + thick + 4 + (number + 1) * (_SMALL + 7))
        draw.text(place, text, QUIET, font_for(text, _SMALL))
