"""How do image tokens learn of each other? Pre-norm self-attention layers between encoder and decoder.

A convolutional encoder with a fine grid sees little beyond each cell; these layers tell a cell what lies left of it
or above it, while its own content stays in the residual.

Source: Vaswani et al. 2017 (the encoder); Xiong et al. 2020 (normalisation before each sub-layer).

Axis letters: `B` images, `N` image tokens, `D` width.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioner.models.attention import MultiHeadAttention


class ImageLayer(nn.Module):
    """Self-attention over an image's tokens and a feed-forward network, each behind a norm and around a residual.

    Args:
        dim: Width `D`.
        num_heads: Heads; must divide `dim`.
        mlp_ratio: Width of the feed-forward network over `dim`.
        dropout: Applied to each sub-layer's output.
    """

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """One layer over `x` `[B, N, D]`."""
        h = self.attention_norm(x)
        h, _ = self.attention(h, self.attention.project(h))
        x = x + self.dropout(h)
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return x
