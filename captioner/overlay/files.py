"""Which files does one photo get? Pictures, animations, figures and arrays, as the user asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.overlay.animation import write_animation
from captioner.overlay.arrays import write_arrays
from captioner.overlay.colour import Scale
from captioner.overlay.figure import lay_out
from captioner.overlay.pdf import write_pdf
from captioner.overlay.picture import fit, word_picture
from captioner.overlay.sheet import contact_sheet
from captioner.overlay.svg import write_svg

KINDS = ("png", "words", "gif", "webp", "svg", "pdf", "npz")
"""The kinds of file: a contact sheet, a picture of each word, animations, figures for a paper, raw arrays."""

_LARGEST = 1600  # pixels of the longer side; no file shows more of a photo
_LONGEST = 60  # letters of a photo's or a word's name that become a file's: names end at 255 bytes


def write_files(
    folder: Path,
    stem: str,
    photo: NDArray[np.uint8],
    caption: Caption,
    *,
    kinds: Sequence[str],
    scale: Scale = "caption",
    name: str = "",
) -> None:
    """Write what shows a caption, by the first of its methods, as `STEM.KIND`; words as `STEM/NN-WORD.png`.

    Args:
        folder: Where the files go; it exists.
        stem: What their names begin with; what no file name may hold is replaced, and the rest cut off.
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        kinds: Some of `KINDS`.
        scale: What the lightest colour stands for.
        name: Path of the photo, kept with the arrays.
    """
    stem = _safe(stem)
    rows, cols = photo.shape[:2]
    shrink = _LARGEST / max(rows, cols)
    small = fit(photo, round(cols * shrink), round(rows * shrink)) if shrink < 1 else photo
    if "png" in kinds:
        contact_sheet(small, caption, scale=scale).save(folder / f"{stem}.png")
    if "words" in kinds and caption.words:
        (folder / stem).mkdir(exist_ok=True)
        for old in (folder / stem).glob("*.png"):  # of a caption that is none any more
            old.unlink()
        for index, word in enumerate(caption.words):
            picture = word_picture(small, caption, index, scale=scale)
            picture.save(folder / stem / f"{index + 1:02d}-{_safe(word.text)}.png")
    for kind in ("gif", "webp"):
        if kind in kinds:
            write_animation(folder / f"{stem}.{kind}", small, caption, scale=scale)
    if "svg" in kinds or "pdf" in kinds:
        figure = lay_out(small, caption, scale=scale)
        if "svg" in kinds:
            write_svg(folder / f"{stem}.svg", figure)
        if "pdf" in kinds:
            write_pdf(folder / f"{stem}.pdf", figure)
    if "npz" in kinds:
        write_arrays(folder / f"{stem}.npz", caption, photo=name)


def _safe(text: str) -> str:
    """A name that every file system takes: no separators, quotes, brackets, control characters or final points."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "-", text)[:_LONGEST].rstrip(". ") or "-"
