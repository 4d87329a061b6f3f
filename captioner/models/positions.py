"""Positional encodings: sinusoids for tokens and for grids, and rotary positions.

    sinusoidal    p₂ᵢ = sin(t / 10000^(2i/D)),  p₂ᵢ₊₁ = cos(…)        added to the token at t
    rotary        (q₂ᵢ, q₂ᵢ₊₁) rotated by the angle t / 10000^(2i/d)  so that q·k depends on the distance of the tokens

Sources: Vaswani et al. 2017 (sinusoidal); Su et al. 2021, "RoFormer" (rotary).

Axis letters: `B` captions, `L` tokens, `D` width, `H` heads, `d` width of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEXT_POSITIONS = ("learned", "sinusoidal", "rotary")
IMAGE_POSITIONS = ("learned", "sinusoidal", "none")


def position_angles(at: Tensor, width: int) -> Tensor:
    """The angles t / 10000^(2i/width), float32 `[L, ceil(width / 2)]`, for each position t of `at` int64 `[L]`."""
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, device=at.device) / width)
    return at[:, None] * frequencies


def sinusoid_line(length: int, dim: int) -> Tensor:
    """Sinusoidal positions float `[length, dim]`, of variance 1/2."""
    angles = position_angles(torch.arange(length), dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate each pair of neighbours of `x` `[B, H, L, d]` by its angle in `angles` `[L, d / 2]`."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def sinusoid_grid(dim: int, grid: tuple[int, int]) -> Tensor:
    """2-D sinusoidal positions float `[dim, rows, cols]`, of variance 1/4 (Vaswani et al. 2017, for two axes).

    A quarter of the width each holds sine and cosine of the row, sine and cosine of the column, at wavelengths from 4
    to 400 cells.
    """
    count = -(-dim // 4)
    frequencies = math.pi / 2 * 100.0 ** (-torch.arange(count) / count)
    rows = (torch.arange(grid[0]) + 0.5)[:, None] * frequencies  # [rows, count]
    cols = (torch.arange(grid[1]) + 0.5)[:, None] * frequencies  # [cols, count]
    shape = (*grid, count)
    parts = [
        rows.sin()[:, None].expand(shape),
        rows.cos()[:, None].expand(shape),
        cols.sin()[None].expand(shape),
        cols.cos()[None].expand(shape),
    ]
    return torch.cat(parts, dim=-1)[..., :dim].permute(2, 0, 1) / math.sqrt(2)
