"""Where did the decoder look when it wrote a word? Its own cross-attention, as it was used.

Axis letters: `B` images, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.models.captioner import Captioner


class Attention:
    """Cross-attention of all layers and heads, or of those chosen, as their mean or their maximum.

    Args:
        layer: Counted from 1; None takes all layers.
        head: Counted from 1; None takes all heads.
        maximum: The maximum over what is left instead of the mean.
        name: As the user spelt it.
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
        """Refuse a layer or head that the decoder does not have.

        Raises:
            UsageError: If so.
        """
        if self.layer is None and self.head is None:
            return
        with torch.no_grad():
            weight = next(captioner.parameters())
            memory = captioner.encode(weight.new_zeros(1, 3, *captioner.encoder.image_size))
            begin = torch.zeros(1, 1, 1, dtype=torch.int64, device=weight.device)
            weights = captioner.decoder(begin, memory.features, need_weights=True).cross_attention
        assert weights is not None
        layers, heads = weights.shape[3:5]
        for what, chosen, there in (("layer", self.layer, layers), ("head", self.head, heads)):
            if chosen is not None and not 1 <= chosen <= there:
                raise UsageError(
                    f"explain={self.name}: the decoder has no {what} {chosen}; "
                    f"it has {layers} layers of {heads} heads, counted from 1"
                )

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`: shares of attention."""
        weights = batch.forced.attention[:, 0]  # [B, L, layers, H, N]
        if self.layer is not None:
            weights = weights[:, :, self.layer - 1 : self.layer]
        if self.head is not None:
            weights = weights[:, :, :, self.head - 1 : self.head]
        together = weights.amax(dim=(2, 3)) if self.maximum else weights.mean(dim=(2, 3))
        return on_grid(together, batch.memory.grid)


def on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The part `[..., rows, cols]` of `[..., N]` that has a place: the last rows * cols image tokens."""
    rows, cols = grid
    return values[..., values.shape[-1] - rows * cols :].reshape(*values.shape[:-1], rows, cols)
