from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from captioner.overlay import fonts
from captioner.overlay.fonts import font_file, font_for


def name_of(text: str) -> tuple[str | None, str | None]:
    """Family and style of the font for a text."""
    font = font_for(text, 20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.getname()


def test_plain_text_has_the_same_font_everywhere() -> None:
    assert name_of("A dog runs: 83% (0.2) <x>") == name_of("a")
    font = font_for("a", 31)
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert font.size == 31


@pytest.mark.parametrize("text", ["собака бежит", "犬が走る", "كلب يجري", "a 🐕 runs", "\U0010fffd", ""])
def test_any_text_can_be_drawn(text: str) -> None:
    image = Image.new("RGB", (200, 40))
    ImageDraw.Draw(image).text((5, 5), text, "white", font_for(text, 20))
    assert bool(image.getbbox()) is bool(text)


@pytest.mark.parametrize("text", ["a dog", "собака"])
def test_the_file_of_a_font_is_that_font(text: str) -> None:
    path, data = font_file(text)
    font = ImageFont.truetype(path if data is None else io.BytesIO(data), 20)
    assert font.getname() == name_of(text)


def test_the_font_with_most_of_the_characters_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    if name_of("собака") == name_of("a"):
        pytest.skip("none of the broad fonts is installed")
    monkeypatch.setattr(fonts, "_BROAD", ("no such font.ttf",))
    assert name_of("собака") == name_of("a")
