"""Captioner: image encoder, bridge from image tokens to the decoder's memory, and text decoder.

Axis letters: `B` images, `C` captions per image, `L` tokens, `D` decoder width, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError, did_you_mean
from captioner.image.geometry import Box
from captioner.models.decoders.decoder import Decoder
from captioner.models.decoders.decoder_output import DecoderOutput
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.image_layers import ImageLayer
from captioner.models.image_tokens import ImageTokens
from captioner.models.linear import Linear
from captioner.models.positions import IMAGE_POSITIONS, sinusoid_grid
from captioner.models.weight_copies import drop_stale_copies, reuse_copies


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Encoded images as the decoder takes them.

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
    """Normalisation, projection to the decoder's width, positions on the grid, and self-attention layers.

    Positions are a learned `[D, rows, cols]` table that starts from 2-D sinusoids, so that cells are distinguishable
    from the first step. It is resized bilinearly when an image has another grid (as ViTs do when they change
    resolution, Dosovitskiy et al. 2021). Prefix tokens have learned positions of their own. Alternatively the sinusoids
    are fixed, for whatever grid an image has, or there are no positions.

    Args:
        in_dim: Width of the encoder's features.
        dim: Width `D` of the decoder.
        grid: Grid of the position table.
        num_prefix: Number of prefix tokens.
        depth: Number of self-attention layers over the image tokens.
        num_heads: Heads of those layers.
        dropout: Applied to the projected features and in the layers.
        positions: "learned", "sinusoidal" or "none".
        window: Of those layers, as in `ImageLayer`; every second one is shifted.
        chunk: Of those layers, as in `ImageLayer`.
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
        positions: str = "learned",
        window: int | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if positions not in IMAGE_POSITIONS:
            raise UsageError(
                f"model.image_positions={positions!r} is not known; choose from {', '.join(IMAGE_POSITIONS)}"
                f"{did_you_mean(str(positions), IMAGE_POSITIONS)}"
            )
        self.norm_in = nn.LayerNorm(in_dim)
        self.project = Linear(in_dim, dim)
        self.layers = nn.ModuleList(
            ImageLayer(
                dim,
                num_heads,
                mlp_ratio=2.0,
                dropout=dropout,
                window=window,
                shifted=bool(index % 2),
                chunk=chunk,
            )
            for index in range(depth)
        )
        self.norm_out = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.position = nn.Parameter(sinusoid_grid(dim, grid)) if positions == "learned" else None
        self.prefix_position = (
            None if positions == "none" else nn.Parameter(torch.randn(num_prefix, dim) * 0.02)
        )
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens: ImageTokens) -> Memory:
        """The memory of `ImageTokens`, at the decoder's width."""
        x = self.project(self.norm_in(tokens.features))
        if self.prefix_position is not None:
            # [D, rows, cols] -> [num_prefix + rows*cols, D]
            x = x + torch.cat([self.prefix_position, self._on_grid(tokens.grid).flatten(1).T])
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, tokens.grid)
        return Memory(self.norm_out(x), tokens.grid, tokens.num_prefix, tokens.cells)

    def _on_grid(self, grid: tuple[int, int]) -> Tensor:
        """Positions `[D, rows, cols]` of a grid."""
        position: Tensor | None = self.position
        if position is None:
            weight = self.project.weight
            return _fixed_positions(weight.shape[0], grid, weight.dtype, weight.device)
        if tuple(position.shape[-2:]) != grid:
            position = F.interpolate(position[None], grid, mode="bilinear", antialias=True)[0]
        return position


@lru_cache(maxsize=64)
def _fixed_positions(dim: int, grid: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`sinusoid_grid`, kept for the grids of recent images; not to be changed."""
    with torch.inference_mode(False):
        return sinusoid_grid(dim, grid).to(device, dtype)


class Captioner(nn.Module):
    """An image encoder joined with a text decoder by cross-attention ("show, attend and tell", Xu et al. 2015).

    Args:
        encoder: Encodes images as `ImageTokens`.
        decoder: Takes a memory of its own width.
        dropout: Applied to the projected image features.
        image_depth: Self-attention layers over the image tokens, between encoder and decoder.
        image_heads: Heads of those layers; must divide the decoder's width.
        image_positions: Positions of image tokens: "learned" (resized for other grids), "sinusoidal" or "none".
        image_window: Let those layers attend within windows of this many cells a side; None for the whole grid.
        image_chunk: Queries at a time in those layers, each attending to all tokens; None for all at once.

    Raises:
        UsageError: If encoder or decoder is of another class, `dropout` is not in [0, 1), `image_depth` is negative,
            `image_heads` does not divide the width, or a value of the others is not allowed.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: Decoder,
        *,
        dropout: float = 0.1,
        image_depth: int = 0,
        image_heads: int = 4,
        image_positions: str = "learned",
        image_window: int | None = None,
        image_chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, ImageEncoder) or not isinstance(decoder, Decoder):
            raise UsageError(
                "a Captioner takes an ImageEncoder as encoder and a Decoder as decoder, not a "
                f"{type(encoder).__name__} and a {type(decoder).__name__}"
            )
        if image_depth < 0:
            raise UsageError(f"model.image_depth={image_depth} must not be negative")
        if not 0 <= dropout < 1:
            raise UsageError(f"model.dropout={dropout} must be at least 0 and below 1")
        dim = decoder.dim
        if image_depth and (image_heads < 1 or dim % image_heads):
            raise UsageError(
                f"model.image_heads={image_heads} does not divide model.decoder.dim={dim}; choose a divisor of {dim}"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.bridge = ImageBridge(
            encoder.dim,
            dim,
            grid=encoder.grid,
            num_prefix=encoder.num_prefix,
            depth=image_depth,
            num_heads=image_heads,
            dropout=dropout,
            positions=image_positions,
            window=image_window,
            chunk=image_chunk,
        )

    def encode(self, images: Tensor | ImageTokens) -> Memory:
        """Encode normalised images float `[B, 3, rows, cols]`, once for all their captions and beams.

        Tokens that the encoder computed earlier may be given in place of the images.
        """
        drop_stale_copies(self)
        with reuse_copies():
            memory: Memory = self.bridge(images if isinstance(images, ImageTokens) else self.encoder(images))
        return memory

    def forward(
        self, images: Tensor | ImageTokens, tokens: Tensor, *, need_weights: bool = False
    ) -> DecoderOutput:
        """Teacher forcing of all captions of each image; see `Decoder.forward`.

        Args:
            images: float `[B, 3, rows, cols]`, normalised; or the encoder's tokens.
            tokens: int64 `[B, C, L]`, starting with BOS, padded at the right.
            need_weights: Also return the cross-attention of every layer and head.
        """
        return self.decoder(tokens, self.encode(images).features, need_weights=need_weights)
