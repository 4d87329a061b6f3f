"""Self-attention over large grids without a weight for every pair: in windows, or in chunks of queries.

Windows: a cell attends to the cells of its window, w × w of them, and to the prefix tokens; prefix tokens attend to
all tokens. Every second layer shifts its windows by half a window, so that information crosses their borders (Liu et
al. 2021, "Swin Transformer"; Li et al. 2022, "Exploring Plain Vision Transformer Backbones"). The cost grows with
N · w².

Chunks: every token attends to all, a chunk of queries at a time, and a chunk's intermediate values are recomputed in
the backward pass (Rabe & Staats 2021, "Self-attention does not need O(n²) memory"). The result is that of full
attention; the memory grows with N, the time with N².

Axis letters: `B` images, `P` prefix tokens, `N` image tokens, `W` windows of an image, `D` width, `H` heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from captioner.errors import UsageError
from captioner.models.attention import KeyValue, MultiHeadAttention


class WindowAttention(nn.Module):
    """Self-attention of a grid in windows.

    Args:
        attention: Computes each window.
        window: Cells along a window's side, at least 2.
        shifted: Shift the windows by half a window.

    Raises:
        UsageError: If `window` is below 2.
    """

    def __init__(self, attention: MultiHeadAttention, *, window: int, shifted: bool) -> None:
        super().__init__()
        if not isinstance(window, int) or window < 2:
            raise UsageError(
                f"model.image_window={window} must be a whole number of at least 2 cells, or null for the whole grid"
            )
        self.attention = attention
        self.window = window
        self.shift = window // 2 if shifted else 0

    def forward(self, x: Tensor, grid: tuple[int, int], *, need_weights: bool = False) -> tuple[Tensor, None]:
        """Attend among `x` `[B, N, D]`, whose last `rows * cols` tokens are the grid.

        Returns:
            The output `[B, N, D]`, and None.

        Raises:
            UsageError: If weights are requested: most pairs of tokens have none.
        """
        if need_weights:
            raise UsageError(
                f"model.image_window={self.window} lets image tokens attend within windows, so most pairs have no "
                "weights; take an explanation that needs none, such as attention or occlusion"
            )
        rows, cols = grid
        B, N, D = x.shape
        P, w, s = N - rows * cols, self.window, self.shift
        prefix = x[:, :P]
        # Padded to whole windows: [B, rows*cols, D] -> [B, down*w, across*w, D], the grid shifted by s cells.
        down, across = -(-(rows + s) // w), -(-(cols + s) // w)
        around = (s, across * w - s - cols, s, down * w - s - rows)
        cells = F.pad(x[:, P:].view(B, rows, cols, D), (0, 0, *around))
        real = F.pad(x.new_ones(1, rows, cols, 1), (0, 0, *around)) > 0
        # One row of cells for each window: [B, W, w*w, D], and which of them are no padding [1, W, w*w, 1].
        cells, real = (_windows(part, down, across, w) for part in (cells, real))
        W = down * across
        # Each window with the prefix as further keys: [B*W, P + w*w, D].
        context = torch.cat([prefix[:, None].expand(B, W, P, D), cells], dim=2).flatten(0, 1)
        allowed = torch.cat([real.new_ones(1, W, P), real[..., 0]], dim=2).expand(B, W, -1).flatten(0, 1)
        out, _ = self.attention(
            cells.flatten(0, 1), self.attention.project(context), allowed=allowed[:, None, None]
        )
        # [B*W, w*w, D] -> [B, down*w, across*w, D] -> [B, rows*cols, D]
        out = out.view(B, down, across, w, w, D).transpose(2, 3).reshape(B, down * w, across * w, D)
        out = out[:, s : s + rows, s : s + cols].reshape(B, rows * cols, D)
        if P:
            of_prefix, _ = self.attention(prefix, self.attention.project(x))
            out = torch.cat([of_prefix, out], dim=1)
        return out, None


def _windows(cells: Tensor, down: int, across: int, w: int) -> Tensor:
    # [B, down*w, across*w, D] -> [B, W, w*w, D]
    B, _, _, D = cells.shape
    return cells.view(B, down, w, across, w, D).transpose(2, 3).reshape(B, down * across, w * w, D)


class ChunkedAttention(nn.Module):
    """Full self-attention, a chunk of queries at a time.

    Args:
        attention: Computes each chunk.
        chunk: Queries at a time, at least 1.

    Raises:
        UsageError: If `chunk` is below 1.
    """

    def __init__(self, attention: MultiHeadAttention, *, chunk: int) -> None:
        super().__init__()
        if not isinstance(chunk, int) or chunk < 1:
            raise UsageError(
                f"model.image_chunk={chunk} must be a whole number of at least 1 token, or null for all at once"
            )
        self.attention = attention
        self.chunk = chunk

    def forward(
        self, x: Tensor, grid: tuple[int, int], *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend among `x` `[B, N, D]`; the grid is not used.

        Returns:
            The output `[B, N, D]` and the weights `[B, H, N, N]`, or None when they were not requested.
        """
        memory = self.attention.project(x)
        if need_weights:  # they take N² in any case, and gradients need them as one tensor
            whole: tuple[Tensor, Tensor | None] = self.attention(x, memory, need_weights=True)
            return whole

        def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
            out: Tensor = self.attention(queries, KeyValue(keys, values, bias))[0]
            return out

        parts = [
            checkpoint(attend, queries, memory.keys, memory.values, memory.bias, use_reentrant=False)
            if torch.is_grad_enabled()
            else attend(queries, memory.keys, memory.values, memory.bias)
            for queries in torch.split(x, self.chunk, dim=1)
        ]
        return torch.cat(parts, dim=1), None
