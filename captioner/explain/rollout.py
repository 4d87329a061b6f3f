"""Attention rollout (Abnar & Zuidema 2020): cross-attention carried back through the encoder's self-attention.

A token of a ViT's last layer is a mixture of all input tokens. Each layer keeps half of a token (the residual) and
takes half from the tokens it attends to, averaged over heads: A' = (A + I) / 2. The product over layers gives the share
of each input patch in each final token; multiplied by the decoder's cross-attention it also returns attention on class
and register tokens to patches.

Axis letters: `B` images, `L` tokens, `H` heads, `N` image tokens, `M` tokens within the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.explain.attention import on_grid
from captioner.explain.self_attention import (
    check_image_layers,
    encoder_weights,
    global_weights,
    image_layers,
    is_readable,
    weights_of,
)
from captioner.explain.teacher_forcing import CaptionedBatch, full_precision
from captioner.explain.unsupported import UnsupportedMethodError
from captioner.models.captioner import Captioner


class Rollout:
    """Rollout of the cross-attention's mean over layers and heads through the self-attention of the image tokens."""

    name = "rollout"
    unit: Unit = "attention"
    cost = "one encoder pass without fused attention"

    def check(self, captioner: Captioner) -> None:
        """Check that the attention weights of encoder and image layers can be recorded.

        Raises:
            UnsupportedMethodError: If not.
        """
        check_image_layers(captioner, self.name)
        if not is_readable(captioner):
            raise UnsupportedMethodError(
                "explain=rollout needs an encoder whose self-attention runs over all tokens in every layer, such as "
                f"ViT, DeiT, DINOv2, SigLIP or BEiT, unlike {captioner.encoder.name}; take attention, grad_cam, "
                "integrated_gradients or occlusion"
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
            mixture = roll_out([*global_weights(in_encoder, tokens, model), *in_bridge])  # [B, N, M]
            # [B, L, N]; a sentinel, which is no image token, comes first and is dropped.
            cross = batch.forced.attention[:, 0].mean(dim=(2, 3))
            return on_grid(cross[..., -mixture.shape[1] :] @ mixture, batch.memory.grid)


def roll_out(weights: Sequence[Tensor]) -> Tensor:
    """Share of each input token in each output token: `[B, N, M]`, rows sum to 1.

    Args:
        weights: Self-attention `[B, H, N, N]` of each layer, first to last. Later layers may have fewer tokens: the
            last ones.
    """
    M = weights[0].shape[-1]
    rolled = torch.eye(M, device=weights[0].device)
    for layer in weights:
        N = layer.shape[-1]
        mixed = (layer.float().mean(dim=1) + torch.eye(N, device=layer.device)) / 2
        rolled = mixed @ rolled[..., -N:, :]
    return rolled
