"""Which patches fed the tokens that the decoder looked at? Attention rollout (Abnar & Zuidema 2020).

In a ViT a token of the last layer has gathered from all others. Each layer keeps half of a token (the residual) and
takes half from where its heads look on average, A' = (A + I) / 2; the product over layers says how much of each input
patch is in each final token, and the decoder's cross-attention is brought through it. What the decoder took from class
and register tokens thereby comes back to the patches these had looked at.

Axis letters: `B` images, `L` tokens, `H` heads, `N` image tokens, `M` tokens within the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.attention import on_grid
from captioner.explain.self_attention import (
    encoder_weights,
    global_weights,
    image_layers,
    is_readable,
    weights_of,
)
from captioner.explain.teacher_forcing import CaptionedBatch, full_precision
from captioner.models.captioner import Captioner


class Rollout:
    """Cross-attention, mean over layers and heads, brought back through the self-attention of the image tokens."""

    name = "rollout"
    unit: Unit = "attention"
    cost = "one encoder pass without fused attention"

    def check(self, captioner: Captioner) -> None:
        """Refuse encoders without attention that can be read.

        Raises:
            UsageError: If so.
        """
        if is_readable(captioner):
            return
        raise UsageError(
            f"explain=rollout needs an encoder whose self-attention runs over all tokens in every layer and can be "
            f"read, such as ViT, DeiT, DINOv2, SigLIP or BEiT; {captioner.encoder.name} has none: take attention, "
            "grad_cam, integrated_gradients or occlusion"
        )

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`: shares of attention."""
        captioner = batch.captioner
        model = captioner.encoder.model
        with full_precision(batch.images.device):
            with encoder_weights(model) as in_encoder:
                tokens = captioner.encoder(batch.images)
            with weights_of(image_layers(captioner)) as in_bridge:
                captioner.bridge(tokens)
            mixing = roll_out([*global_weights(in_encoder, tokens, model), *in_bridge])  # [B, N, M]
            cross = batch.forced.attention[:, 0].mean(dim=(2, 3))  # [B, L, N], with a sentinel's in front
            return on_grid(cross[..., -mixing.shape[1] :] @ mixing, batch.memory.grid)


def roll_out(weights: Sequence[Tensor]) -> Tensor:
    """How much of each input token is in each output token: `[B, N, M]`, rows sum to 1.

    Args:
        weights: Self-attention `[B, H, N, N]` of each layer, from the first to the last. Later layers may have fewer
            tokens, the last ones.
    """
    M = weights[0].shape[-1]
    rolled = torch.eye(M, device=weights[0].device)
    for layer in weights:
        N = layer.shape[-1]
        kept = (layer.float().mean(dim=1) + torch.eye(N, device=layer.device)) / 2
        rolled = kept @ rolled[..., -N:, :]
    return rolled
