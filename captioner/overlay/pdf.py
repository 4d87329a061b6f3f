"""PDF of a caption's figure: searchable text in embedded fonts, as publishers require."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from captioner.errors import UsageError
from captioner.overlay.figure import Figure
from captioner.overlay.fonts import font_file

if TYPE_CHECKING:
    from fpdf import FPDF

_QUIET, _INK = (108, 108, 114), (28, 28, 30)


def check_pdf() -> None:
    """Check that PDF can be written.

    Raises:
        UsageError: If fpdf2 is not installed.
    """
    try:
        import fpdf  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "overlay=pdf needs the package fpdf2: pip install 'captioner[pdf]'; overlay=svg needs no package"
        ) from error


def write_pdf(path: Path, figure: Figure) -> None:
    """Write a figure as a PDF of one page.

    Raises:
        UsageError: If fpdf2 is not installed.
    """
    check_pdf()
    from fpdf import FPDF

    pdf = FPDF(unit="pt", format=(figure.width, figure.height))
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    pdf.set_title(figure.title)
    pdf.set_image_filter("DCTDecode")
    pdf.add_page()
    fonts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for tile in figure.tiles:
            pdf.image(
                Image.fromarray(tile.pixels),
                x=tile.x, y=tile.y, w=tile.width, h=tile.height, alt_text=tile.text,
            )  # fmt: skip
        if figure.bar is not None:
            _bar(pdf, figure)
        for text in figure.texts:
            pdf.set_font(_font(pdf, text.text, fonts, Path(folder)), size=text.size)
            pdf.set_text_color(*(_QUIET if text.quiet else _INK))
            width = pdf.get_string_width(text.text)
            shift = {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
            pdf.text(text.x - shift, text.y, text.text)
        pdf.output(str(path))


def _bar(pdf: FPDF, figure: Figure) -> None:
    from fpdf.pattern import LinearGradient

    bar = figure.bar
    assert bar is not None
    colours = ["#" + bytes(colour).hex() for colour in bar.colours]
    gradient = LinearGradient(bar.x, bar.y, bar.x + bar.width, bar.y, colors=colours)
    with pdf.use_pattern(gradient):
        pdf.rect(bar.x, bar.y, bar.width, bar.height, style="F")


def _font(pdf: FPDF, text: str, known: dict[str, str], folder: Path) -> str:
    """The font family for `text`, added to the document if new."""
    name, data = font_file(text)
    if name not in known:
        known[name] = f"font{len(known)}"
        file = Path(name)
        if data is not None:
            file = folder / f"{known[name]}.ttf"
            file.write_bytes(data)
        pdf.add_font(known[name], fname=str(file))
    return known[name]
