"""Annotated objects of a photo, with boxes and masks: `AnnotatedObject` and `AnnotatedPhoto`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from captioner.image.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedObject:
    """One object of a photo.

    Attributes:
        names: Its names: a category, or the nouns of the phrases that refer to it.
        box: (top, left, bottom, right) in pixels of the annotated photo, half-open, inside it.
        rle: Its mask as pycocotools' compressed run lengths (RLE), or None where only the box is known.
        kind: Its supercategory, for tables by word class.
    """

    names: frozenset[str]
    box: Box
    rle: Mapping[str, Any] | None
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPhoto:
    """The annotation of one photo.

    Attributes:
        size: (rows, cols) of the photo that was annotated, in pixels.
        objects: All annotated objects, including crowds.
        outside: Boxes left out because they lie beyond the photo or have no area, where the reader counts by photo.
        clipped: Boxes clipped at the edge of the photo, likewise.
    """

    size: tuple[int, int]
    objects: tuple[AnnotatedObject, ...]
    outside: int = 0
    clipped: int = 0

    def mask(self, objects: Sequence[AnnotatedObject]) -> NDArray[np.bool_]:
        """The union of the objects' masks, bool `[rows, cols]`; the box stands in for an unknown mask."""
        union = self.boxes(tuple(thing.box for thing in objects if thing.rle is None))
        for thing in objects:
            if thing.rle is not None:
                union |= run_lengths.decode(dict(thing.rle)).astype(bool)
        return union

    def boxes(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        """The union of boxes, bool `[rows, cols]`: every pixel whose centre lies in one."""
        rows, cols = self.size
        down, across = np.arange(rows)[:, None] + 0.5, np.arange(cols) + 0.5
        union = np.zeros(self.size, dtype=bool)
        for top, left, bottom, right in boxes:
            union |= (top <= down) & (down < bottom) & (left <= across) & (across < right)
        return union
