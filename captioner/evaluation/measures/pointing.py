"""Pointing game (Zhang et al. 2018, "Excitation backprop"): whether a noun's map peaks on an object that it names.

A noun that names nothing in the picture is a miss: no noun is left out.
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
        hits: Nouns whose map peaks inside a box of an object that they name.
        nouns: All nouns.
        chance: Mean share of the picture that a noun's boxes cover: the accuracy of a random point.
    """

    hits: int
    nouns: int
    chance: float

    @property
    def accuracy(self) -> float:
        """Share of hits, 0–1; 0 if there is no noun."""
        return self.hits / self.nouns if self.nouns else 0.0


@dataclass(frozen=True, slots=True)
class NamedBoxes:
    """A noun and the boxes of the objects that it names.

    Attributes:
        word_index: Index into `Caption.words`.
        boxes: (top, left, bottom, right) in pixels of the upright original, half-open; empty if it names nothing.
    """

    word_index: int
    boxes: tuple[Box, ...]


def peak(caption: Caption, word_index: int) -> tuple[float, float]:
    """Peak of a word's map: (y, x) in pixels of the upright original, the centre of the grid cell."""
    word_map = caption.words[word_index].map
    row, col = np.unravel_index(int(word_map.argmax()), word_map.shape)
    down, across = cell_middles(caption.geometry, (word_map.shape[0], word_map.shape[1]))
    return float(down[row]), float(across[col])


def pointing_game(captions: Sequence[Caption], nouns: Sequence[Sequence[NamedBoxes]]) -> PointingResult:
    """Pointing game over the nouns of captions.

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
        # Boxes are clipped to the photo; a negative end would count from the other side.
        end = max(0, int(np.ceil(bottom))), max(0, int(np.ceil(right)))
        mask[max(0, int(top)) : end[0], max(0, int(left)) : end[1]] = True
    return float(mask.mean())
