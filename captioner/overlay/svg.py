"""SVG of a caption's figure: editable text, embedded photos, all text escaped."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.overlay.figure import Figure

_FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def write_svg(path: Path, figure: Figure) -> None:
    """Write a figure as a self-contained SVG file."""
    width, height = _short(figure.width), _short(figure.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{_FONTS}">',
        f"<title>{_escape(figure.title)}</title>",
    ]
    for tile in figure.tiles:
        parts.append(
            f'<image x="{_short(tile.x)}" y="{_short(tile.y)}" width="{_short(tile.width)}" '
            f'height="{_short(tile.height)}" preserveAspectRatio="none" role="img" href="{_uri(tile.pixels)}">'
            f"<title>{_escape(tile.text)}</title></image>"
        )
    if figure.bar is not None:
        bar, last = figure.bar, len(figure.bar.colours) - 1
        stops = "".join(
            f'<stop offset="{_short(number / last)}" stop-color="#{bytes(colour).hex()}"/>'
            for number, colour in enumerate(bar.colours)
        )
        parts.append(f'<linearGradient id="scale">{stops}</linearGradient>')
        parts.append(
            f'<rect x="{_short(bar.x)}" y="{_short(bar.y)}" width="{_short(bar.width)}" '
            f'height="{_short(bar.height)}" fill="url(#scale)"/>'
        )
    for text in figure.texts:
        colour = "#6c6c72" if text.quiet else "#1c1c1e"
        parts.append(
            f'<text x="{_short(text.x)}" y="{_short(text.y)}" font-size="{_short(text.size)}" fill="{colour}" '
            f'text-anchor="{text.anchor}">{_escape(text.text)}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8", errors="replace")


def _escape(text: str) -> str:
    return escape(_NOT_IN_XML.sub("?", text))


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=90, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
