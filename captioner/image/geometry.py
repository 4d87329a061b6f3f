"""Where on the photo did the model look? The exact inverse of EXIF turn, resize, crop and padding.

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
    """How a photo was laid under the model's input.

    Attributes:
        size: (rows, cols) of the full upright photo, in pixels.
        orientation: EXIF orientation of the file, 1–8. Only `to_stored` needs it.
        view: The rectangle of the upright photo that the model input covers, in the photo's pixels. Smaller
            than the photo where it was cropped; larger where it was padded, and may then be negative.
        input_size: (rows, cols) of the model input, in pixels.
    """

    size: tuple[int, int]
    orientation: int
    view: Box
    input_size: tuple[int, int]

    def __post_init__(self) -> None:
        top, left, bottom, right = self.view
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
        """Bring a map over the model input back to the upright photo.

        The map's cells divide the model input evenly, whatever their number. What lies beyond the photo
        (padding) is dropped; what the model did not see (cropped away) is 0.

        Args:
            grid: `[..., rows, cols]`, for example one attention map on the encoder's grid.
            size: (rows, cols) of the result: the whole photo drawn at this size. By default the photo's own.
            resample: "bilinear" interpolates between cell centres and keeps the map's values; "nearest" gives
                each pixel the value of the cell it lies in; "mass" spreads each cell's value over the
                pixels it covers, so that the sum over any region is the mass that fell on it, and the total
                is that of the map less what lies on padding.

        Returns:
            float32 `[..., H, W]` over the upright photo.
        """
        rows, cols = size or self.size
        top, left, bottom, right = self.view
        vertical = _axis_weights(rows, self.size[0], (top, bottom), grid.shape[-2], resample)
        horizontal = _axis_weights(cols, self.size[1], (left, right), grid.shape[-1], resample)
        # [H, rows] @ [..., rows, cols] @ [cols, W] -> [..., H, W]
        original: NDArray[np.float32] = vertical @ grid.astype(np.float32) @ horizontal.T
        return original

    def to_stored(self, upright: NDArray[Any]) -> NDArray[Any]:
        """Undo the EXIF turn: bring an upright `[H, W, ...]` array to the order of the file's own pixels."""
        return to_stored(upright, self.orientation)

    def to_original_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Bring points `[..., 2]` (row, col) from model-input pixels to pixels of the upright photo."""
        origin, scale = self._affine()
        return origin + np.asarray(points, dtype=np.float64) * scale

    def to_input_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Bring points `[..., 2]` (row, col) from pixels of the upright photo to model-input pixels.

        Points that the model did not see come out beyond the input; nothing is clipped.
        """
        origin, scale = self._affine()
        return (np.asarray(points, dtype=np.float64) - origin) / scale

    def to_original_boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Bring boxes `[..., 4]` (top, left, bottom, right) from model-input pixels to the upright photo."""
        corners = np.asarray(boxes, dtype=np.float64)
        return self.to_original_points(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)

    def to_input_boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Bring boxes `[..., 4]` (top, left, bottom, right) from the upright photo to model-input pixels."""
        corners = np.asarray(boxes, dtype=np.float64)
        return self.to_input_points(corners.reshape(*corners.shape[:-1], 2, 2)).reshape(corners.shape)

    def cell_box(self, row: int, col: int, grid: tuple[int, int]) -> Box:
        """The box on the upright photo that one cell of a map covers.

        Args:
            row: Row of the cell.
            col: Column of the cell.
            grid: (rows, cols) of the map.

        Returns:
            (top, left, bottom, right) in photo pixels; parts on padding lie beyond the photo.
        """
        top, left, bottom, right = self.view
        height, width = (bottom - top) / grid[0], (right - left) / grid[1]
        return (top + row * height, left + col * width, top + (row + 1) * height, left + (col + 1) * width)

    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Origin of the view and photo pixels per input pixel, both `[2]` (row, col)."""
        top, left, bottom, right = self.view
        return np.array([top, left]), np.array([bottom - top, right - left]) / np.array(self.input_size)


def _axis_weights(
    pixels: int, length: int, view: tuple[float, float], cells: int, resample: Resample
) -> NDArray[np.float32]:
    """How much of each cell goes to each pixel along one axis: float32 `[pixels, cells]`.

    Args:
        pixels: Number of pixels drawn.
        length: Length of the photo along this axis in its own pixels; `pixels` cover all of it.
        view: Start and end of the model input along this axis, in the photo's own pixels.
        cells: Number of cells that divide the view.
        resample: As in `ImageGeometry.to_original`.
    """
    start, end = view
    edges = (np.arange(pixels + 1) * (length / pixels) - start) * (cells / (end - start))  # in cells
    if resample == "mass":
        lower = np.maximum(edges[:-1, None], np.arange(cells))
        upper = np.minimum(edges[1:, None], np.arange(1, cells + 1))
        overlap: NDArray[np.float32] = np.maximum(upper - lower, 0.0).astype(np.float32)
        return overlap
    centres = (edges[:-1] + edges[1:]) / 2
    inside = (centres >= 0) & (centres < cells)
    # Nearest is linear interpolation from the centre of the cell that a pixel lies in.
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
