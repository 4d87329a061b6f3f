"""What is really in a photo, and where? `AnnotatedObject` and `AnnotatedPhoto`, what every reader of boxes gives."""

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
        names: What it is called: a category, or the nouns of the phrases that name it.
        box: (top, left, bottom, right) in pixels of the annotated photo, half-open, inside it.
        outline: Its mask as pycocotools' compressed run lengths, or None where only the box is known.
        kind: The coarse kind it belongs to, for tables by word class.
    """

    names: frozenset[str]
    box: Box
    outline: Mapping[str, Any] | None
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPhoto:
    """What people marked in one photo.

    Attributes:
        size: (rows, cols) of the photo that was annotated, in pixels.
        objects: Every object marked, crowds among them.
        outside: Boxes that lie beyond the photo, or have no area, and are left out; where the reader tells it by photo.
        clipped: Boxes that reached over the edge of the photo, and were cut there; likewise.
    """

    size: tuple[int, int]
    objects: tuple[AnnotatedObject, ...]
    outside: int = 0
    clipped: int = 0

    def mask(self, objects: Sequence[AnnotatedObject]) -> NDArray[np.bool_]:
        """The union of objects' masks, bool `[rows, cols]`; of their boxes where a mask is not known."""
        union = self.boxes(tuple(thing.box for thing in objects if thing.outline is None))
        for thing in objects:
            if thing.outline is not None:
                union |= run_lengths.decode(dict(thing.outline)).astype(bool)
        return union

    def boxes(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        """The union of boxes, bool `[rows, cols]`: every pixel whose centre lies in one."""
        rows, cols = self.size
        down, across = np.arange(rows)[:, None] + 0.5, np.arange(cols) + 0.5
        union = np.zeros(self.size, dtype=bool)
        for top, left, bottom, right in boxes:
            union |= (top <= down) & (down < bottom) & (left <= across) & (across < right)
        return union
