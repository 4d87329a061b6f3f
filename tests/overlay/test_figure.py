"""The figure as it is laid out, as SVG, and as PDF drawn again."""

from __future__ import annotations

import base64
import io
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from captioner.caption import Caption
from captioner.errors import UsageError
from captioner.overlay.figure import lay_out
from captioner.overlay.map_selection import MapSelection
from captioner.overlay.pdf import check_pdf, write_pdf
from captioner.overlay.svg import write_svg

MakeCaption = Callable[..., Caption]
PHOTO = np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3).astype(np.uint8)
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "</text><script>alert(1)</script> \"'& \x00\x0b\ufffe犬"


@pytest.mark.parametrize("text", ["", "dog", "a brown dog runs over wet grass", "w" * 200 + " dog"])
@pytest.mark.parametrize("shape", [(60, 80), (1, 1), (1, 900), (900, 1)])
def test_nothing_lies_outside_or_over_another(
    make_caption: MakeCaption, text: str, shape: tuple[int, int]
) -> None:
    figure = lay_out(np.zeros((*shape, 3), np.uint8), make_caption(text, size=shape))
    assert len(figure.tiles) == len(text.split()) + 1
    boxes = [(tile.x, tile.y, tile.x + tile.width, tile.y + tile.height) for tile in figure.tiles]
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= figure.width + 0.5
        assert bottom <= figure.height
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    assert all(0 < line.y <= figure.height and 0 <= line.x <= figure.width for line in figure.texts)


def test_svg_is_text_and_photos_and_nothing_else_whatever_the_words(
    make_caption: MakeCaption, tmp_path: Path
) -> None:
    figure = lay_out(PHOTO, make_caption(EVIL))
    write_svg(tmp_path / "a.svg", figure)
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert {node.tag.removeprefix(SVG) for node in root.iter()} == {
        "svg", "title", "image", "linearGradient", "stop", "rect", "text"
    }  # fmt: skip
    written = [node.text for node in root.iter(f"{SVG}text")]
    assert written[0] == "</text><script>alert(1)</script> \"'& ? ?犬"
    images = list(root.iter(f"{SVG}image"))
    assert len(images) == len(figure.tiles)
    for node, tile in zip(images, figure.tiles, strict=True):
        data = base64.b64decode(node.attrib["href"].removeprefix("data:image/jpeg;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        assert np.abs(pixels - tile.pixels).mean() < 6
        assert node.find(f"{SVG}title") is not None


def test_pdf_has_the_text_and_shows_the_tiles(make_caption: MakeCaption, tmp_path: Path) -> None:
    shown = MapSelection(
        np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32), "occlusion", "nats"
    )
    figure = lay_out(PHOTO, make_caption("a собака runs"), selection=shown)
    write_pdf(tmp_path / "a.pdf", figure)
    page = pypdfium2.PdfDocument(tmp_path / "a.pdf")[0]
    assert page.get_size() == pytest.approx((figure.width, figure.height), abs=0.1)
    text = page.get_textpage().get_text_bounded()
    for line in figure.texts:
        assert line.text in text
    drawn = np.asarray(page.render(scale=2).to_pil().convert("RGB")).astype(int)
    for tile in figure.tiles:
        rows = slice(round(2 * tile.y) + 1, round(2 * (tile.y + tile.height)) - 1)
        cols = slice(round(2 * tile.x) + 1, round(2 * (tile.x + tile.width)) - 1)
        part = drawn[rows, cols]
        expected = np.asarray(Image.fromarray(tile.pixels).resize((part.shape[1], part.shape[0]))).astype(int)
        assert np.abs(part - expected).mean() < 8
    bar = figure.bar
    assert bar is not None
    row = drawn[
        round(2 * (bar.y + bar.height / 2)), round(2 * bar.x) + 2 : round(2 * (bar.x + bar.width)) - 2
    ]
    stops = bar.colours[np.linspace(0, 32, len(row)).round().astype(int)].astype(int)
    assert np.abs(row - stops).mean() < 8


def test_fonts_are_embedded(make_caption: MakeCaption, tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", lay_out(PHOTO, make_caption("a dog")))
    data = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type1" not in data


@pytest.mark.parametrize("text", ["", EVIL])
def test_pdf_of_any_text(make_caption: MakeCaption, tmp_path: Path, text: str) -> None:
    write_pdf(tmp_path / "a.pdf", lay_out(PHOTO, make_caption(text)))
    assert len(pypdfium2.PdfDocument(tmp_path / "a.pdf")) == 1


def test_without_its_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(UsageError, match=r"overlay=pdf .*fpdf2.*captioner\[pdf\]"):
        check_pdf()
