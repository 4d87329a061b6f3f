"""Is the peak of a noun's map on the object it names? The pointing game (Zhang et al. 2018, "Excitation backprop").

A noun that names nothing in the picture is a miss: no noun is left out of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captioner.caption import Caption
from captioner.evaluation.measures.target import cell_middles
from captioner.image.geometry import Box, ImageGeometry


@dataclass(frozen=True, slots=True)
class PointingResult:
    """The pointing game over many nouns.

    Attributes:
        hits: Nouns whose map has its peak inside a box of an object they name.
        nouns: All nouns.
        chance: Mean share of the picture that a noun's boxes cover: what a random place would hit.
    """

    hits: int
    nouns: int
    chance: float

    @property
    def accuracy(self) -> float:
        """Share of hits, 0–1; 0 where there is no noun."""
        return self.hits / self.nouns if self.nouns else 0.0


@dataclass(frozen=True, slots=True)
class NamedBoxes:
    """The boxes a noun names: its place among the caption's words, and where those objects lie.

    Attributes:
        word_index: Index into `Caption.words`.
        boxes: (top, left, bottom, right) in pixels of the upright original, half-open; empty where nothing is named.
    """

    word_index: int
    boxes: tuple[Box, ...]


def peak(caption: Caption, word_index: int) -> tuple[float, float]:
    """Where a word's map is highest: (y, x) in pixels of the upright original, the middle of the grid cell."""
    word_map = caption.words[word_index].map
    row, col = np.unravel_index(int(word_map.argmax()), word_map.shape)
    down, across = cell_middles(caption.geometry, (word_map.shape[0], word_map.shape[1]))
    return float(down[row]), float(across[col])


def pointing_game(captions: Sequence[Caption], nouns: Sequence[Sequence[NamedBoxes]]) -> PointingResult:
    """Play the pointing game.

    Args:
        captions: Captions with maps.
        nouns: For each caption, its nouns.
    """
    hits, total, chances = 0, 0, 0.0
    for caption, named in zip(captions, nouns, strict=True):
        for noun in named:
            y, x = peak(caption, noun.word_index)
            hits += any(top <= y < bottom and left <= x < right for top, left, bottom, right in noun.boxes)
            chances += covered(noun.boxes, caption.geometry)
            total += 1
    return PointingResult(hits, total, chances / total if total else 0.0)


def covered(boxes: Sequence[Box], geometry: ImageGeometry) -> float:
    """Share of the picture, 0–1, that the union of boxes covers."""
    rows, cols = geometry.size
    mask = np.zeros((rows, cols), dtype=bool)
    for top, left, bottom, right in boxes:
        # What lies beyond the photo is cut off; a negative end would count from the other side.
        end = max(0, int(np.ceil(bottom))), max(0, int(np.ceil(right)))
        mask[max(0, int(top)) : end[0], max(0, int(left)) : end[1]] = True
    return float(mask.mean())
