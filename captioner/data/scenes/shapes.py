"""Outlines of the seven shapes and their antialiased pixel coverage."""

from __future__ import annotations

from math import ceil, cos, floor, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Pillow does not antialias: shapes are drawn this many times larger and averaged, which gives 17 levels.
_SUPERSAMPLE = 4


def _polar(points: int, radius: float, inner: float | None = None) -> NDArray[np.float64]:
    """A regular polygon, first corner up; with `inner`, a star with its inner corners at that radius."""
    radii = [radius] if inner is None else [radius, inner]
    count = points * len(radii)
    angles = 2 * pi * np.arange(count) / count - pi / 2
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(np.tile(radii, points)[:, None] * directions)


def _heart() -> NDArray[np.float64]:
    t = 2 * pi * np.arange(40) / 40
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17, (y - 2.5) / 16], axis=1)


def _cross(arm: float, half: float) -> NDArray[np.float64]:
    a, h = arm, half
    corners = [(-h, -a), (h, -a), (h, -h), (a, -h), (a, h), (h, h), (h, a), (-h, a)]
    return np.array([*corners, (-h, h), (-a, h), (-a, -h), (-h, -h)])


# Corners (x right, y down) within the unit square, also after a tilt. A second polygon is a hole.
_OUTLINES: dict[str, tuple[NDArray[np.float64], ...]] = {
    "circle": (_polar(40, 0.95),),
    "square": (np.array([(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]),),
    "triangle": (np.array([(0.0, -0.92), (0.92, 0.78), (-0.92, 0.78)]),),
    "star": (_polar(5, 1.0, inner=0.44),),
    "cross": (_cross(0.94, 0.32),),
    "ring": (_polar(40, 0.98), _polar(40, 0.52)),
    "heart": (_heart(),),
}

SHAPES: tuple[str, ...] = tuple(_OUTLINES)


def coverage(
    shape: str, centre: tuple[float, float], *, radius: float, angle: float
) -> tuple[int, int, NDArray[np.float32]]:
    """The share of each pixel that a shape covers, in the smallest patch certain to contain it.

    Args:
        shape: One of `SHAPES`.
        centre: (row, column) in pixels; pixel (r, c) spans [r, r+1) × [c, c+1).
        radius: Half the side of the square that the shape fills, in pixels.
        angle: Clockwise tilt in radians.

    Returns:
        Top row and left column of the patch in the picture, and the patch: float32 `[rows, cols]`, 0–1.
    """
    top, left = floor(centre[0] - radius), floor(centre[1] - radius)
    rows, cols = ceil(centre[0] + radius) - top, ceil(centre[1] + radius) - left
    canvas = Image.new("L", (cols * _SUPERSAMPLE, rows * _SUPERSAMPLE))
    pen = ImageDraw.Draw(canvas)
    turn = np.array([(cos(angle), sin(angle)), (-sin(angle), cos(angle))]) * (radius * _SUPERSAMPLE)
    shift = np.array([centre[1] - left, centre[0] - top]) * _SUPERSAMPLE
    for outline, fill in zip(_OUTLINES[shape], (255, 0), strict=False):
        pen.polygon((outline @ turn + shift).ravel().tolist(), fill=fill)
    patch = np.asarray(canvas.reduce(_SUPERSAMPLE), dtype=np.float32) / np.float32(255)
    return top, left, patch
