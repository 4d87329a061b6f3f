"""Overlay files of one photo: pictures, animations, figures and arrays."""

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

_LARGEST = 1600  # pixels of the longer side; larger photos are shrunk
_LONGEST = 60  # characters kept of a photo's or word's name: file names have at most 255 bytes


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
    """Write overlays of a caption by its first explanation as `STEM.KIND`, words as `STEM/NN-WORD.png`.

    Args:
        folder: An existing folder.
        stem: First part of the file names; characters not allowed there are replaced, and long stems are cut off.
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        kinds: Some of `FILE_KINDS`.
        scale: As in `upper_end`.
        name: Path of the photo, stored with the arrays.
    """
    stem = _safe(stem)
    rows, cols = photo.shape[:2]
    shrink = _LARGEST / max(rows, cols)
    small = fit(photo, round(cols * shrink), round(rows * shrink)) if shrink < 1 else photo
    if "png" in kinds:
        contact_sheet(small, caption, scale=scale).save(folder / f"{stem}.png")
    if "words" in kinds and caption.words:
        (folder / stem).mkdir(exist_ok=True)
        for old in (folder / stem).glob("*.png"):  # of an earlier caption
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
    """A name that every file system accepts: no separators, quotes, brackets, control characters or final points."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "-", text)[:_LONGEST].rstrip(". ") or "-"
