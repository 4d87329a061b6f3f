"""How does a map come to another grid with its mass kept? Each cell's value is shared out by the area it covers.

All grids divide the same rectangle evenly, as the maps of one photo do, and photos of different shapes as shares of
their own rectangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def regrid(maps: NDArray[np.floating[Any]], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Maps `[..., rows, cols]` on another grid: float64, with the sums they had.

    Args:
        maps: On any grid.
        grid: (rows, cols) of the result.
    """
    values = maps.astype(np.float64)
    if maps.shape[-2:] == grid:
        return values
    down, across = (_shares(own, other) for own, other in zip(maps.shape[-2:], grid, strict=True))
    # [rows', rows] @ [..., rows, cols] @ [cols, cols'] -> [..., rows', cols']
    shared: NDArray[np.float64] = down @ values @ across.T
    return shared


def middle_grid(grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The grid on which maps of many shapes can be compared: the median of their rows, and of their columns.

    The least would hide in a panorama's single row what moved, the most would blur nothing and find nothing alike.
    """
    rows, cols = np.median(np.array(grids), axis=0)
    return max(1, round(float(rows))), max(1, round(float(cols)))


def _shares(own: int, other: int) -> NDArray[np.float64]:
    """How much of each of `own` cells along one axis lies in each of `other`: `[other, own]`, columns sum to 1."""
    edges, lines = np.arange(own + 1) / own, np.arange(other + 1) / other
    overlap = np.minimum(lines[1:, None], edges[1:]) - np.maximum(lines[:-1, None], edges[:-1])
    shares: NDArray[np.float64] = np.maximum(overlap, 0.0) * own
    return shares
