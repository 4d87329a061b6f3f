"""From feature maps to image tokens: levels concatenated on one grid, neighbouring cells merged.

Axis letters: `B` images, `D` channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.models.image_tokens import ImageTokens


def concatenate_levels(grid: Tensor, finer: Sequence[Tensor]) -> Tensor:
    """The features `[B, D, rows, cols]` of a grid concatenated with those of finer maps, average-pooled to it.

    Each map is normalised over its own channels, since their scales differ by orders of magnitude.
    """
    if not finer:
        return grid
    maps = [F.adaptive_avg_pool2d(part, (grid.shape[-2], grid.shape[-1])) for part in finer] + [grid]
    return torch.cat(
        [F.layer_norm(m.permute(0, 2, 3, 1), m.shape[1:2]).permute(0, 3, 1, 2) for m in maps], dim=1
    )


def to_tokens(grid: Tensor, merge: int) -> ImageTokens:
    """The cells of a map `[B, D, rows, cols]` as tokens, `merge` x `merge` neighbours concatenated in each.

    Raises:
        UsageError: If `merge` does not divide the grid.
    """
    rows, cols = grid.shape[-2:]
    if rows % merge or cols % merge:
        raise UsageError(
            f"encoder.merge={merge} does not divide the grid of {rows} x {cols}; take a divisor of both"
        )
    # [B, D, rows, cols] -> [B, D*merge², rows/merge, cols/merge]
    grid = F.pixel_unshuffle(grid, merge)
    # [B, D, rows, cols] -> [B, rows*cols, D]
    rows, cols = grid.shape[-2:]
    return ImageTokens(grid.flatten(2).transpose(1, 2), (rows, cols))
