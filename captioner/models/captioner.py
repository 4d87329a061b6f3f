"""How do encoder and decoder become one captioner? A bridge from image tokens to the decoder's memory.

Axis letters: `B` images, `C` captions per image, `L` tokens, `D` decoder width, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.image.geometry import Box
from captioner.models.decoder_output import DecoderOutput
from captioner.models.encoder import ImageEncoder
from captioner.models.image_layers import ImageLayer
from captioner.models.image_tokens import ImageTokens
from captioner.models.lstm import LstmDecoder
from captioner.models.transformer import TransformerDecoder


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Encoded images as the decoder reads them.

    Attributes:
        features: `[B, N, D]`.
        grid: `(rows, cols)` of the last `rows * cols` tokens.
        num_prefix: Tokens before the grid.
        cells: Where on the input the grid lies, as in `ImageTokens`.
    """

    features: Tensor
    grid: tuple[int, int]
    num_prefix: int
    cells: Box | None = None


class ImageBridge(nn.Module):
    """Normalise, project to the decoder's width, and say where on the grid each token lies.

    Positions are a learned `[D, rows, cols]` table that starts from 2-D sinusoids, so that places can be told apart
    from the first step on. It is resized bilinearly when an image has another grid (as ViTs do when they change
    resolution, Dosovitskiy et al. 2021). Prefix tokens have learned positions of their own.

    Args:
        in_dim: Width of the encoder's features.
        dim: Width `D` of the decoder.
        grid: Grid of the position table.
        num_prefix: Number of prefix tokens.
        depth: Number of self-attention layers over the image tokens.
        num_heads: Heads of those layers.
        dropout: Applied to the projected features and in the layers.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        grid: tuple[int, int],
        num_prefix: int,
        depth: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(in_dim)
        self.project = nn.Linear(in_dim, dim)
        self.layers = nn.Sequential(
            *(ImageLayer(dim, num_heads, mlp_ratio=2.0, dropout=dropout) for _ in range(depth))
        )
        self.norm_out = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.position = nn.Parameter(sinusoid_grid(dim, grid))
        self.prefix_position = nn.Parameter(torch.randn(num_prefix, dim) * 0.02)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens: ImageTokens) -> Memory:
        """Bring `ImageTokens` to the decoder's width."""
        position: Tensor = self.position
        if tuple(position.shape[-2:]) != tokens.grid:
            position = F.interpolate(position[None], tokens.grid, mode="bilinear", antialias=True)[0]
        # [D, rows, cols] -> [num_prefix + rows*cols, D]
        position = torch.cat([self.prefix_position, position.flatten(1).T])
        x = self.dropout(self.project(self.norm_in(tokens.features)) + position)
        return Memory(self.norm_out(self.layers(x)), tokens.grid, tokens.num_prefix, tokens.cells)


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


class Captioner(nn.Module):
    """An image encoder joined with a text decoder by cross-attention ("show, attend and tell", Xu et al. 2015).

    Args:
        encoder: Gives `ImageTokens`.
        decoder: Reads a memory of its own width.
        dropout: Applied to the projected image features.
        image_depth: Self-attention layers over the image tokens, between encoder and decoder.
        image_heads: Heads of those layers; must divide the decoder's width.

    Raises:
        UsageError: If `dropout` is not at least 0 and below 1, `image_depth` is negative, or `image_heads` does not
            divide the width.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: TransformerDecoder | LstmDecoder,
        *,
        dropout: float = 0.1,
        image_depth: int = 0,
        image_heads: int = 4,
    ) -> None:
        super().__init__()
        if image_depth < 0:
            raise UsageError(f"model.image_depth={image_depth} must not be negative")
        if not 0 <= dropout < 1:
            raise UsageError(f"model.dropout={dropout} must be at least 0 and below 1")
        self.encoder = encoder
        self.decoder = decoder
        self.bridge = ImageBridge(
            encoder.dim,
            decoder.token_embedding.embedding_dim,
            grid=encoder.grid,
            num_prefix=encoder.num_prefix,
            depth=image_depth,
            num_heads=image_heads,
            dropout=dropout,
        )

    def encode(self, images: Tensor | ImageTokens) -> Memory:
        """Encode normalised images float `[B, 3, rows, cols]`, once for all their captions and beams.

        Tokens that the encoder made earlier may be given in place of the images.
        """
        memory: Memory = self.bridge(images if isinstance(images, ImageTokens) else self.encoder(images))
        return memory

    def forward(
        self, images: Tensor | ImageTokens, tokens: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """Teacher forcing of all captions of each image.

        Args:
            images: float `[B, 3, rows, cols]`, normalised; or the encoder's tokens.
            tokens: int64 `[B, C, L]`, starting with BOS, padded at the right.
            need_weights: Also return the cross-attention of every layer and head.
        """
        output: DecoderOutput = self.decoder(tokens, self.encode(images).features, need_weights=need_weights)
        return output
