"""Pre-norm self-attention layers over image tokens, between encoder and decoder.

The receptive field of a convolutional encoder with a fine grid extends little beyond each cell; these layers add the
context of the whole image, while a cell's own content stays in the residual.

Source: Vaswani et al. 2017 (the encoder); Xiong et al. 2020 (normalisation before each sub-layer). For large grids see
`local_attention`.

Axis letters: `B` images, `N` image tokens, `D` width.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.attention import MultiHeadAttention
from captioner.models.linear import Linear
from captioner.models.local_attention import ChunkedAttention, WindowAttention


class ImageLayer(nn.Module):
    """Self-attention over an image's tokens and a feed-forward network, each behind a norm and around a residual.

    Args:
        dim: Width `D`.
        num_heads: Heads; must divide `dim`.
        mlp_ratio: Width of the feed-forward network over `dim`.
        dropout: Applied to each sub-layer's output.
        window: Attend within windows of this many cells a side; None for the whole grid.
        shifted: Shift the windows by half a window.
        chunk: Queries at a time, each attending to all tokens; None for all at once.

    Raises:
        UsageError: If `num_heads` does not divide `dim`, or window and chunk are both given or too small.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        dropout: float,
        window: int | None = None,
        shifted: bool = False,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if window is not None and chunk is not None:
            raise UsageError(
                f"model.image_window={window} and model.image_chunk={chunk}: image tokens attend within windows or in "
                "chunks; set one of the two to null"
            )
        self.attention_norm = nn.LayerNorm(dim)
        attention = MultiHeadAttention(dim, num_heads)
        self.attention: MultiHeadAttention | WindowAttention | ChunkedAttention = attention
        if window is not None:
            self.attention = WindowAttention(attention, window=window, shifted=shifted)
        elif chunk is not None:
            self.attention = ChunkedAttention(attention, chunk=chunk)
        self.mlp_norm = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(Linear(dim, hidden), nn.GELU(), Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int] = (0, 0)) -> Tensor:
        """One layer over `x` `[B, N, D]`, whose last `rows * cols` tokens are the grid; only windows use it."""
        h = self.attention_norm(x)
        if isinstance(self.attention, MultiHeadAttention):
            h, _ = self.attention(h, self.attention.project(h))
        else:
            h, _ = self.attention(h, grid)
        x = x + self.dropout(h)
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return x
