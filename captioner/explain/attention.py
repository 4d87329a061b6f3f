"""Cross-attention of the decoder as an explanation: all layers and heads, or chosen ones.

Axis letters: `B` images, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.models.captioner import Captioner
from captioner.models.image_tokens import ImageTokens


class Attention:
    """Mean or maximum of the cross-attention over all layers and heads, or over the chosen ones.

    Args:
        layer: Decoder layer, from 1; None takes all layers.
        head: Attention head, from 1; None takes all heads.
        maximum: Take the maximum instead of the mean.
        name: Name as the user wrote it.
    """

    unit: Unit = "attention"
    cost = "none beyond the teacher-forced pass"

    def __init__(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        maximum: bool = False,
        name: str = "attention",
    ) -> None:
        self.name = name
        self.layer = layer
        self.head = head
        self.maximum = maximum

    def check(self, captioner: Captioner) -> None:
        """Check that the decoder has the chosen layer and head.

        Raises:
            UsageError: If not.
        """
        if self.layer is None and self.head is None:
            return
        layers, heads = layers_and_heads(captioner)
        for what, chosen, count in (("layer", self.layer, layers), ("head", self.head, heads)):
            if chosen is not None and not 1 <= chosen <= count:
                raise UsageError(
                    f"explain={self.name}: {what} {chosen} is out of range; the decoder has {layers} layers of {heads} "
                    "heads, counted from 1"
                )

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`: shares of attention."""
        weights = batch.forced.attention[:, 0]  # [B, L, layers, H, N]
        if self.layer is not None:
            weights = weights[:, :, self.layer - 1 : self.layer]
        if self.head is not None:
            weights = weights[:, :, :, self.head - 1 : self.head]
        reduced = weights.amax(dim=(2, 3)) if self.maximum else weights.mean(dim=(2, 3))
        return on_grid(reduced, batch.memory.grid)


def on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The last `rows * cols` image tokens of `[..., N]` on their grid: `[..., rows, cols]`."""
    rows, cols = grid
    return values[..., values.shape[-1] - rows * cols :].reshape(*values.shape[:-1], rows, cols)


@torch.no_grad()
def layers_and_heads(captioner: Captioner) -> tuple[int, int]:
    """Number of layers and heads of the decoder's cross-attention.

    Found by one decoder step on blank image tokens, which every decoder can compute; the encoder does not run.
    """
    encoder, weight = captioner.encoder, next(captioner.parameters())
    rows, cols = encoder.grid
    blank = weight.new_zeros(1, encoder.num_prefix + rows * cols, encoder.dim)
    memory = captioner.encode(ImageTokens(blank, encoder.grid, encoder.num_prefix))
    begin = torch.zeros(1, 1, 1, dtype=torch.int64, device=weight.device)
    weights = captioner.decoder(begin, memory.features, need_weights=True).cross_attention
    assert weights is not None
    return weights.shape[3], weights.shape[4]
