"""Projection of an object's region onto the grid of a map, and the fit of maps to it.

Every grounding figure follows from three small arrays over the cells of a map: which cells have their centre on the
object, how much of each cell it covers, and how much of the photo each cell covers. So the mask is processed once for
all maps of a word, whatever the number of layers, heads and methods.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from captioner.image.geometry import ImageGeometry

THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0, 21)
"""Thresholds of the IoU, as shares of a map's peak."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A region of the photo (a mask, or boxes) on the grid of a map.

    Attributes:
        area: Share of the photo that it covers, 0–1: the hit rate of a random point.
        seen: Share of it within the model's input, 0–1; 1 if it has no area.
        centre: 1.0 if the centre of the photo lies on it, else 0.0.
        middles: float32 `[rows, cols]`: 1 if the centre of a cell lies on it, else 0.
        cover: float32 `[rows, cols]`: share of each cell that it covers, 0–1.
        overlap: float32 `[rows, cols]`: the same part, as a share of the photo.
        cells: float32 `[rows, cols]`: share of the photo that each cell covers; padding counts as 0.
    """

    area: float
    seen: float
    centre: float
    middles: NDArray[np.float32]
    cover: NDArray[np.float32]
    overlap: NDArray[np.float32]
    cells: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """How well maps fit a target.

    Attributes:
        pointing: float `[...]`: 1 if the peak lies on the target. If several cells share the peak, the share of them
            that lies on it, so that a flat map scores as chance.
        mass: float `[...]`: share of the map's mass on the target; 0 for a map without mass.
        iou: float `[..., len(THRESHOLDS)]`: intersection over union of the target and the cells with at least that
            share of the map's peak.
    """

    pointing: NDArray[np.float64]
    mass: NDArray[np.float64]
    iou: NDArray[np.float64]


def target(mask: NDArray[np.bool_], geometry: ImageGeometry, grid: tuple[int, int]) -> Target:
    """Project a mask onto the grid of a map.

    Args:
        mask: bool `[H, W]` of the whole upright photo; another size than the photo's is scaled to it.
        geometry: Where the map lies on the photo.
        grid: (rows, cols) of the map.
    """
    geometry = _at_size(geometry, (mask.shape[0], mask.shape[1]))
    down, across = _edges(geometry, grid)
    covered = _integrate(mask, down, across)
    total = float(mask.sum())
    tops, lefts = cell_middles(geometry, grid)
    return Target(
        area=total / mask.size,
        seen=float(covered.sum()) / total if total else 1.0,
        centre=float(mask[mask.shape[0] // 2, mask.shape[1] // 2]),
        middles=_lookup(mask, tops, lefts).astype(np.float32),
        cover=(covered / (np.diff(down)[:, None] * np.diff(across))).astype(np.float32),
        overlap=(covered / mask.size).astype(np.float32),
        cells=(_integrate(np.ones_like(mask), down, across) / mask.size).astype(np.float32),
    )


def fit(maps: NDArray[np.float32], to: Target) -> Fit:
    """Fit of maps `[..., rows, cols]` to a target.

    The peak is the centre of the cell with the highest value, where bilinear interpolation also has its maximum.
    Negative values count as 0 for mass and region. A cell's mass is spread evenly over it, and a region consists of
    whole cells.
    """
    flat = maps.reshape(*maps.shape[:-2], -1).astype(np.float64)  # [..., cells]
    highest = flat.max(axis=-1, keepdims=True)
    tied = flat == highest
    pointing = (tied * to.middles.reshape(-1)).sum(axis=-1) / tied.sum(axis=-1)
    positive = np.maximum(flat, 0.0)
    total = positive.sum(axis=-1)
    mass = (positive * to.cover.reshape(-1)).sum(axis=-1) / np.where(total > 0, total, 1.0)
    # [..., cells] against [thresholds] -> [..., thresholds, cells]
    cut = THRESHOLDS[:, None] * np.maximum(highest, 0.0)[..., None, :]
    region = (positive[..., None, :] >= cut).astype(np.float64)
    common = region @ to.overlap.reshape(-1).astype(np.float64)
    union = region @ to.cells.reshape(-1).astype(np.float64) + to.area - common
    return Fit(pointing, mass, common / np.maximum(union, 1e-12))


def centre_map(geometry: ImageGeometry, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Centre baseline: a Gaussian at the centre of the photo, float32 `[rows, cols]`, sums to 1.

    Its standard deviation is a quarter of the photo's height and width.
    """
    tops, lefts = cell_middles(geometry, grid)
    down, across = tops / geometry.size[0] - 0.5, lefts / geometry.size[1] - 0.5
    hill = np.exp(-0.5 * ((down[:, None] / 0.25) ** 2 + (across / 0.25) ** 2))
    normalised: NDArray[np.float32] = (hill / hill.sum()).astype(np.float32)
    return normalised


def cell_middles(
    geometry: ImageGeometry, grid: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of a map's cells, rows `[rows]` and columns `[cols]`, in pixels of the upright photo.

    Args:
        geometry: Where the map lies on the photo.
        grid: (rows, cols) of the map.
    """
    rows, cols = grid
    top, left, bottom, right = geometry.cells_view
    down = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    across = left + (np.arange(cols) + 0.5) * (right - left) / cols
    # A centre outside the input is moved to its edge, half a pixel inside.
    top, left, bottom, right = geometry.view
    return np.clip(down, top + 0.5, bottom - 0.5), np.clip(across, left + 0.5, right - 0.5)


def _at_size(geometry: ImageGeometry, size: tuple[int, int]) -> ImageGeometry:
    """The same geometry for the photo at another size."""
    if geometry.size == size:
        return geometry
    down, across = size[0] / geometry.size[0], size[1] / geometry.size[1]
    top, left, bottom, right = geometry.view
    return replace(geometry, size=size, view=(top * down, left * across, bottom * down, right * across))


def _edges(geometry: ImageGeometry, grid: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of the cells' rows `[rows + 1]` and columns `[cols + 1]`, in pixels of the photo."""
    rows, cols = grid
    boxes_down = [geometry.cell_box(row, 0, grid) for row in range(rows)]
    boxes_across = [geometry.cell_box(0, col, grid) for col in range(cols)]
    down = [boxes_down[0][0], *(box[2] for box in boxes_down)]
    across = [boxes_across[0][1], *(box[3] for box in boxes_across)]
    return np.array(down), np.array(across)


def _lookup(
    mask: NDArray[np.bool_], down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The mask at every pair of positions: bool `[len(down), len(across)]`; False outside it."""
    height, width = mask.shape
    rows, cols = np.floor(down).astype(np.intp), np.floor(across).astype(np.intp)
    within = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    found: NDArray[np.bool_] = (
        within & mask[np.clip(rows, 0, height - 1)[:, None], np.clip(cols, 0, width - 1)]
    )
    return found


def _integrate(
    mask: NDArray[np.bool_], down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Number of mask pixels in each cell, fractional pixels included: `[rows, cols]`."""
    height, width = mask.shape
    # The running sum is linear within a pixel, so interpolating it integrates exactly.
    running = np.concatenate([np.zeros((1, width)), mask.cumsum(axis=0)])  # [H + 1, W]
    bands = np.diff(_between(running, np.clip(down, 0, height)), axis=0)  # [rows, W]
    running = np.concatenate([np.zeros((len(bands), 1)), bands.cumsum(axis=1)], axis=1).T  # [W + 1, rows]
    return np.diff(_between(running, np.clip(across, 0, width)), axis=0).T


def _between(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of `values` at fractional indices, by linear interpolation."""
    low = np.minimum(np.floor(at).astype(np.intp), len(values) - 2)
    share = (at - low)[:, None]
    between: NDArray[np.float64] = values[low] * (1 - share) + values[low + 1] * share
    return between
