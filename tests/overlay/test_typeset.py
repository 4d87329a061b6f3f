"""Does text fit where it must?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.overlay.fonts import font_for
from captioner.overlay.typeset import shorten, wrap

FONT = font_for("a", 20)


def test_long_text_is_broken_and_shortened() -> None:
    lines = wrap("one two three four five", FONT, 100)
    assert " ".join(lines) == "one two three four five"
    assert len(lines) > 1
    assert all(FONT.getlength(line) <= 100 for line in lines)
    short = shorten("w" * 99, FONT, 100)
    assert short.endswith("…")
    assert FONT.getlength(short) <= 100 < FONT.getlength(short.replace("…", "w…"))


@given(st.text(alphabet="abw ", max_size=60))
def test_no_line_is_too_wide_and_no_word_is_lost(text: str) -> None:
    lines = wrap(text, FONT, 80)
    assert all(FONT.getlength(line) <= 80 for line in lines)
    said = " ".join(lines).split()
    assert len(said) == len(text.split())
    for shown, word in zip(said, text.split(), strict=True):
        assert word.startswith(shown.removesuffix("…"))


@pytest.mark.parametrize("width", [0, 1])
def test_no_room_at_all_leaves_an_ellipsis(width: int) -> None:
    assert shorten("word", FONT, width) == "…"
