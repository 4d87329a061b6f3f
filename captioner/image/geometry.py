"""Geometry between model input and photo: the exact inverse of EXIF rotation, resize, crop and padding.

Coordinates are continuous: pixel i covers the interval [i, i + 1) and its centre is i + 0.5. A point is
(row, col), a box is (top, left, bottom, right).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captioner.image.orientation import to_stored

Box = tuple[float, float, float, float]
Resample = Literal["bilinear", "nearest", "mass"]


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """The position of the model's input on the photo.

    Attributes:
        size: (rows, cols) of the full upright photo, in pixels.
        orientation: EXIF orientation of the file, 1–8, for `to_stored`.
        view: The rectangle of the upright photo that the model input covers, in the photo's pixels. Smaller
            than the photo where it was cropped; larger where it was padded, and may then be negative.
        input_size: (rows, cols) of the model input, in pixels.
        cells: The rectangle of the model input, in its pixels, that the cells of a map divide evenly, so that the
            centre of each cell is the centre of its receptive field; it may extend beyond the input. None: the input
            itself.
    """

    size: tuple[int, int]
    orientation: int
    view: Box
    input_size: tuple[int, int]
    cells: Box | None = None

    def __post_init__(self) -> None:
        for top, left, bottom, right in (self.view, self.cells or self.view):
            if min(*self.size, *self.input_size) < 1 or not (top < bottom and left < right):
                raise ValueError(f"no area in {self}")
        if not 1 <= self.orientation <= 8:
            raise ValueError(f"EXIF orientation is {self.orientation}; it must be 1 to 8")

    def to_original(
        self,
        grid: NDArray[Any],
        *,
        size: tuple[int, int] | None = None,
        resample: Resample = "bilinear",
    ) -> NDArray[np.float32]:
        """Map attention on the encoder's grid back to the upright photo.

        Each pixel of the input belongs to the cell with the nearest centre: where the cells' rectangle ends before the
        input does, the cells at the border extend to its edge. Padding beyond the photo is dropped; cropped parts of
        the photo are 0.

        Args:
            grid: `[..., rows, cols]`, for example one attention map on the encoder's grid. Its cells divide `cells`
                evenly.
            size: (rows, cols) of the result, which covers the whole photo. By default the photo's own size.
            resample: "bilinear" interpolates between cell centres and keeps the map's values; "nearest" gives
                each pixel the value of its cell; "mass" distributes each cell's value over its pixels, so that the
                sum over any region is the region's mass, and the total is that of the map without the padding's.

        Returns:
            float32 `[..., H, W]` over the upright photo.
        """
        vertical, horizontal = (
            _axis_weights(pixels, length, within=within, span=span, cells=cells, resample=resample)
            for pixels, length, within, span, cells in zip(
                size or self.size,
                self.size,
                _axes(self.view),
                _axes(self.cells_view),
                grid.shape[-2:],
                strict=True,
            )
        )
        # [H, rows] @ [..., rows, cols] @ [cols, W] -> [..., H, W]
        original: NDArray[np.float32] = vertical @ grid.astype(np.float32) @ horizontal.T
        return original

    def to_stored(self, upright: NDArray[Any]) -> NDArray[Any]:
        """Undo the EXIF rotation: an upright `[H, W, ...]` array in the order of the file's pixels."""
        return to_stored(upright, self.orientation)

    def to_original_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points `[..., 2]` (row, col) of the model input in pixels of the upright photo."""
        origin, scale = self._affine()
        return origin + np.asarray(points, dtype=np.float64) * scale

    def to_original_boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Boxes `[..., 4]` (top, left, bottom, right) of the model input in pixels of the upright photo."""
        corners = np.asarray(boxes, dtype=np.float64)
        return self.to_original_points(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)

    @property
    def cells_view(self) -> Box:
        """The rectangle of the upright photo, in its pixels, that the cells of a map divide evenly."""
        if self.cells is None:
            return self.view
        top, left, bottom, right = self.to_original_boxes(self.cells).tolist()
        return top, left, bottom, right

    def cell_box(self, row: int, col: int, grid: tuple[int, int]) -> Box:
        """The box on the upright photo of the points nearest to the centre of one cell.

        Args:
            row: Row of the cell.
            col: Column of the cell.
            grid: (rows, cols) of the map.

        Returns:
            (top, left, bottom, right) in photo pixels; padding lies beyond the photo.
        """
        tops, lefts = (
            cell_edges(cells, span=span, within=within)
            for cells, span, within in zip(grid, _axes(self.cells_view), _axes(self.view), strict=True)
        )
        return float(tops[row]), float(lefts[col]), float(tops[row + 1]), float(lefts[col + 1])

    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Origin of the view and photo pixels per input pixel, both `[2]` (row, col)."""
        top, left, bottom, right = self.view
        return np.array([top, left]), np.array([bottom - top, right - left]) / np.array(self.input_size)


def cell_edges(cells: int, *, span: tuple[float, float], within: tuple[float, float]) -> NDArray[np.float64]:
    """The edges of cells along one axis: float64 `[cells + 1]`, increasing.

    Every point within belongs to the cell with the nearest centre, so the first and the last cell extend to the ends.

    Args:
        cells: Number of cells.
        span: Start and end of the interval that the cells divide evenly.
        within: Start and end of the interval that they partition. A cell beyond it keeps a millionth of it.
    """
    start, end = within
    edges = span[0] + np.arange(cells + 1) * ((span[1] - span[0]) / cells)
    edges[0], edges[-1] = start, end
    least = np.arange(cells + 1) * ((end - start) * 1e-6)
    return np.clip(edges, start + least, end - least[::-1])


def _axes(box: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """A box as (top, bottom) and (left, right)."""
    return (box[0], box[2]), (box[1], box[3])


def _axis_weights(
    pixels: int,
    length: int,
    *,
    within: tuple[float, float],
    span: tuple[float, float],
    cells: int,
    resample: Resample,
) -> NDArray[np.float32]:
    """The weight of each cell at each pixel along one axis: float32 `[pixels, cells]`.

    Args:
        pixels: Number of pixels of the result.
        length: Length of the photo along this axis in its own pixels, covered by `pixels`.
        within: Start and end of the model input along this axis, in the photo's own pixels.
        span: Start and end of the interval that the cells divide evenly, likewise.
        cells: Number of cells.
        resample: As in `ImageGeometry.to_original`.
    """
    borders = np.arange(pixels + 1) * (length / pixels)  # edges of the result's pixels
    if resample == "mass":
        edges = cell_edges(cells, span=span, within=within)
        overlap = np.minimum(borders[1:, None], edges[1:]) - np.maximum(borders[:-1, None], edges[:-1])
        shares: NDArray[np.float32] = (np.maximum(overlap, 0.0) / np.diff(edges)).astype(np.float32)
        return shares
    centres = (borders[:-1] + borders[1:]) / 2
    inside = (centres >= within[0]) & (centres < within[1])
    centres = (centres - span[0]) * (cells / (span[1] - span[0]))  # in cells
    # "nearest" is linear interpolation at the centre of the pixel's cell.
    position = centres - 0.5 if resample == "bilinear" else np.floor(centres)
    position = np.clip(position, 0, cells - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, cells - 1)
    share = position - low
    weights = np.zeros((pixels, cells))
    index = np.arange(pixels)
    weights[index, low] += np.where(inside, 1 - share, 0.0)
    weights[index, high] += np.where(inside, share, 0.0)
    return weights.astype(np.float32)
