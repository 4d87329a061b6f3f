"""Thumbnails of the photos of findings, and one contact sheet of all kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.errors import ImageError
from captioner.inspection.check import CheckUp
from captioner.inspection.findings import MEANINGS, Finding, Kind, Subject
from captioner.overlay.fonts import font_for
from captioner.overlay.picture import FAINT, INK, PAPER, QUIET
from captioner.overlay.typeset import shorten, wrap

_TILE = 150  # pixels a side
_MARGIN, _GAP, _TITLE, _SMALL = 28, 14, 22, 12
_COLUMNS = 6
_MAX_TILES = 2 * _COLUMNS  # of a kind

Picture = NDArray[np.uint8]


def small_picture(result: CheckUp, subject: Subject, side: int = 2 * _TILE) -> Picture | None:
    """The photo, uint8 `[rows, cols, 3]` of at most `side` pixels a side; None if it cannot be read."""
    if subject.index is None:
        return None
    try:
        photo = result.datasets[subject.split].photo(subject.index, min_size=(side, side))
    except ImageError:
        return None
    image = Image.fromarray(photo.pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


def pictured(result: CheckUp) -> Iterator[tuple[Kind, list[Finding]]]:
    """The kinds of findings about photos, with their findings."""
    yield from ((kind, list(of)) for kind, of in result.findings.items() if MEANINGS[kind].photos)


def contact_sheet(result: CheckUp) -> Image.Image | None:
    """Draw the findings kind by kind, with a tile for each photo; identical photos are adjacent.

    Returns:
        An RGB image, or None if there is no photo to show.
    """
    blocks = [(kind, _tiles(findings)) for kind, findings in pictured(result)]
    if not blocks:
        return None
    width = 2 * _MARGIN + _COLUMNS * _TILE + (_COLUMNS - 1) * _GAP
    step = _TILE + 2 * _SMALL + 2 * _GAP
    heights = [_TITLE * 2 + -(-len(tiles) // _COLUMNS) * step for _, tiles in blocks]
    sheet = Image.new("RGB", (width, 2 * _MARGIN + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for (kind, tiles), height in zip(blocks, heights, strict=True):
        title = f"{MEANINGS[kind].title}: {result.count(kind):,}"
        draw.text((_MARGIN, top), title, INK, font_for(title, _TITLE))
        for position, (subject, label, joined) in enumerate(tiles):
            row, column = divmod(position, _COLUMNS)
            left = _MARGIN + column * (_TILE + _GAP)
            upper = top + round(_TITLE * 1.8) + row * step
            if joined and column:
                middle = upper + _TILE // 2
                draw.line([(left - _GAP, middle), (left, middle)], fill=INK, width=3)
            _draw(sheet, draw, small_picture(result, subject), subject, label, (left, upper))
        top += height
    return sheet


def _tiles(findings: Sequence[Finding]) -> list[tuple[Subject, str, bool]]:
    """Photos to draw, with their labels, and whether they belong to the preceding one."""
    tiles: list[tuple[Subject, str, bool]] = []
    for finding in findings:
        if tiles and len(tiles) + len(finding.subjects) > _MAX_TILES:
            break
        for number, subject in enumerate(finding.subjects[:_MAX_TILES]):
            tiles.append((subject, finding.detail, number > 0))
    return tiles


def _draw(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Picture | None,
    subject: Subject,
    label: str,
    corner: tuple[int, int],
) -> None:
    left, top = corner
    if picture is None:
        draw.rectangle((left, top, left + _TILE, top + _TILE), outline=FAINT)
        reason = label.removeprefix("is ") or "missing"
        for number, line in enumerate(wrap(reason, font_for(reason, _SMALL), _TILE - 12)[:9]):
            draw.text((left + 6, top + 6 + number * (_SMALL + 3)), line, QUIET, font_for(line, _SMALL))
        label = ""
    else:
        image = Image.fromarray(picture)
        image.thumbnail((_TILE, _TILE))
        sheet.paste(image, (left + (_TILE - image.width) // 2, top + (_TILE - image.height) // 2))
    for number, line in enumerate((f"{subject.split}: {subject.name}", label)):
        font = font_for(line, _SMALL)
        draw.text(
            (left, top + _TILE + 3 + number * (_SMALL + 3)),
            shorten(line.encode(errors="replace").decode(), font, _TILE),
            QUIET if number else INK,
            font,
        )
