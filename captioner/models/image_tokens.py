"""Image tokens: the features of an image and the grid they lie on.

Axis letters: `B` images, `N` image tokens, `D` width of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captioner.image.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class ImageTokens:
    """Encoded images as a sequence whose last `rows * cols` tokens are a grid in row-major order.

    Attributes:
        features: `[B, N, D]`, floating point.
        grid: `(rows, cols)` of the patch grid; it does not follow from `N`.
        num_prefix: Tokens before the grid that belong to no cell: class and register tokens.
        cells: (top, left, bottom, right): the rectangle of the input, in pixels, that the grid divides evenly into
            cells, each centred on its token's receptive field. It may extend beyond the input. None: the input itself.

    Raises:
        ValueError: If `N != num_prefix + rows * cols`, or `num_prefix` is negative.
    """

    features: Tensor
    grid: tuple[int, int]
    num_prefix: int = 0
    cells: Box | None = None

    def __post_init__(self) -> None:
        rows, cols = self.grid
        fits = self.features.ndim == 3 and self.features.shape[1] == self.num_prefix + rows * cols
        if not fits or self.num_prefix < 0:
            raise ValueError(
                f"image tokens of shape {tuple(self.features.shape)} do not fit {self.num_prefix} prefix tokens "
                f"and a grid of {rows} x {cols}"
            )
