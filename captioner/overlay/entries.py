"""Data of one photo for the viewer: its pixels as a data URI, its words and maps as JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.caption import Caption
from captioner.image.geometry import Box
from captioner.overlay.page_maps import method_data
from captioner.text.function_words import COMMON_FUNCTION_WORDS

_WIDEST, _TALLEST = 640, 1280  # pixels of a photo in the page


@dataclass(frozen=True, slots=True, eq=False)
class PageEntry:
    """One photo of a page.

    Attributes:
        photo: uint8 `[H, W, 3]`, the whole upright photo at any size.
        caption: The caption of this photo.
        name: The photo's heading on the page.
        references: Reference captions, shown for comparison.
        boxes: By word index, the annotated boxes (top, left, bottom, right) of the objects that the word names, in
            pixels of the full upright photo. Drawn as outlines.
    """

    photo: NDArray[np.uint8]
    caption: Caption
    name: str
    references: tuple[str, ...] = ()
    boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)


def entry_data(entry: PageEntry) -> dict[str, Any]:
    """The viewer's data of an entry without the photo's pixels, as JSON values."""
    caption = entry.caption
    rows, cols = caption.geometry.size
    lengths = np.array([rows, cols, rows, cols])
    gaps, tail = _gaps(caption)
    return {
        "methods": method_data(caption),
        # Fractions of the photo's height and width, independent of the size at which it is shown.
        "view": _places(caption.geometry.view, lengths),
        "cells": _places(caption.geometry.cells_view, lengths),
        "words": [
            {
                "text": word.text,
                "gap": gap,
                "logprob": round(word.logprob, 4),
                "mass": round(word.visual_mass, 4),
                "boxes": [_places(box, lengths) for box in entry.boxes.get(index, ())],
                "alternatives": [[other.text, round(other.logprob, 4)] for other in word.alternatives],
            }
            for index, (word, gap) in enumerate(zip(caption.words, gaps, strict=True))
        ],
        "tail": tail,
        "start": _first_content_word(entry),
        "score": round(caption.score, 4),
        "others": [[other.text, round(other.logprob, 4)] for other in caption.others],
        "references": list(entry.references),
    }


def jpeg_uri(photo: NDArray[np.uint8]) -> tuple[str, int, int]:
    """The photo as a JPEG data URI of bounded size, and its width and height in pixels."""
    height, width = photo.shape[:2]
    shrink = min(1.0, _WIDEST / width, _TALLEST / height)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(photo)).resize(size, Image.Resampling.LANCZOS)
    image.save(buffer, "JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}", *size


def _places(box: Sequence[float], lengths: NDArray[np.int64]) -> list[float]:
    return [round(float(share), 6) for share in np.divide(box, lengths)]


def _gaps(caption: Caption) -> tuple[list[str], str]:
    """The text before each word and after the last: spaces, or nothing in scripts without them."""
    gaps, at = [], 0
    for word in caption.words:
        found = caption.text.find(word.text, at)
        gaps.append(caption.text[at:found] if found >= 0 else " ")
        at = found + len(word.text) if found >= 0 else at
    return gaps, caption.text[at:]


def _first_content_word(entry: PageEntry) -> int | None:
    """Index of the word to show first: the first content word with boxes, else the first content word."""
    words = entry.caption.words
    content = [i for i, word in enumerate(words) if word.text.lower() not in COMMON_FUNCTION_WORDS]
    with_boxes = [i for i in content if entry.boxes.get(i)]
    return next(iter([*with_boxes, *content]), 0 if words else None)
