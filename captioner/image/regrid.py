"""Area-weighted resampling of maps to another grid that preserves their mass.

All grids divide the same rectangle evenly, as the maps of one photo do; for photos of different shapes, positions are
relative to their own rectangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def regrid(maps: NDArray[np.floating[Any]], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Maps `[..., rows, cols]` on another grid: float64, with the same sums.

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
    """A common grid to compare maps of many shapes: the median of their rows, and of their columns.

    The smallest grid, such as a panorama's single row, would hide differences; on the largest no maps would agree.
    """
    rows, cols = np.median(np.array(grids), axis=0)
    return max(1, round(float(rows))), max(1, round(float(cols)))


def _shares(own: int, other: int) -> NDArray[np.float64]:
    """The share of each of `own` cells along one axis in each of `other`: `[other, own]`, columns sum to 1."""
    edges, lines = np.arange(own + 1) / own, np.arange(other + 1) / other
    overlap = np.minimum(lines[1:, None], edges[1:]) - np.maximum(lines[:-1, None], edges[:-1])
    shares: NDArray[np.float64] = np.maximum(overlap, 0.0) * own
    return shares
