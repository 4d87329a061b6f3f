"""Line breaking and shortening of text to a width in pixels."""

from __future__ import annotations

from captioner.overlay.fonts import Font


def wrap(text: str, font: Font, width: float) -> list[str]:
    """Break a text at spaces into lines of at most `width` pixels; longer words are shortened."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [shorten(line, font, width) for line in lines]


def shorten(text: str, font: Font, width: float) -> str:
    """The text, or its beginning with an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    # Width grows with length: binary search for the longest beginning that fits.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle] + "…") <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"
