"""Choice of a font for a text: Pillow's own if it has all characters, else the installed one that has most."""

from __future__ import annotations

import functools

from PIL import ImageFont

from captioner.errors import UsageError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Common fonts with broad coverage on Linux, macOS and Windows. Pillow finds them by file name.
_BROAD = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "segoeui.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)


def font_for(text: str, size: int) -> Font:
    """The font for `text` at `size` pixels. A character that no font has is drawn as an empty box."""
    return _load(_best(text), size) or ImageFont.load_default()


def font_file(text: str) -> tuple[str, bytes | None]:
    """The font for `text` as a file that other programs can embed.

    Returns:
        Its path and None; or a name that is not a path, and the bytes of the TrueType font.

    Raises:
        UsageError: If Pillow was built without FreeType.
    """
    font = _load(_best(text), 20)
    if isinstance(font, ImageFont.FreeTypeFont):
        if isinstance(font.path, str):
            return font.path, None
        return "default", font.font_bytes
    raise UsageError(
        "Pillow was built without FreeType and has no font to embed; install Pillow from its wheels"
    )


def _best(text: str) -> str | None:
    """Name of the font that has most of the characters; None for Pillow's own."""
    if _load(None, 20) is None or _missing(text, None) == 0:
        return None
    fonts = [name for name in (None, *_BROAD) if _load(name, 20) is not None]
    return min(fonts, key=lambda name: _missing(text, name))


@functools.lru_cache(maxsize=64)
def _load(name: str | None, size: int) -> Font | None:
    try:
        return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)
    except (OSError, ImportError):  # not installed, or Pillow without FreeType
        return None


def _missing(text: str, name: str | None) -> int:
    return sum(not _has(character, name) for character in set(text) if not character.isspace())


@functools.lru_cache(maxsize=4096)
def _has(character: str, name: str | None) -> bool:
    font = _load(name, 20)
    if not isinstance(font, ImageFont.FreeTypeFont):
        return font is not None and character.isascii()
    box = font.getmask("\U0010ffff")  # not a character: drawn as the font's empty box
    glyph = font.getmask(character)
    return glyph.size != box.size or bytes(glyph) != bytes(box)
