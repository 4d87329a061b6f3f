"""Penalty on image-attention mass, so that tokens that do not depend on the image attend elsewhere.

    λ p Σᵢ αₜᵢ        p the training progress, 0–1

The remaining attention falls on a visual sentinel or on nothing (normalisers off_by_one and sink). An LSTM learns to
attend elsewhere without a penalty; a Transformer need not, since its residual stream lets it ignore what it attended
to. With the penalty, a token's image attention converges to what gains the caption at least λ nats. The weight rises
from 0: penalised before it has learned where to attend, a model learns not to attend to the image. Nor may it rise too
late, since the gradient of a saturated softmax is near 0.

A large weight also lowers the attention of nouns. In a Transformer, a noun can obtain image features through
self-attention from the adjective before it, which is penalised only once. Above some λ the maps of nouns get worse.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from torch import Tensor


def image_attention_penalty(attention: Tensor, real: Tensor) -> Tensor:
    """Mean over tokens of the attention mass on the image, 0–1; a scalar.

    Args:
        attention: `[B, C, L, layers, H, N]`, on all image tokens; α is the mean over layers and heads.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    mass = attention.float().sum(dim=-1).mean(dim=(3, 4))  # [B, C, L]
    return (mass * real).sum() / real.sum().clamp(min=1)
