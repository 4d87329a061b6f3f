"""Was it worth looking? A price on attention to the image, so that words that need no picture look away from it.

    λ p Σᵢ αₜᵢ        p the share of training that is over, 0-1

Attention that looks away falls on a visual sentinel, or nowhere (normalisers off_by_one and sink). An LSTM learns that
of itself; a Transformer may just as well look and leave what it read unused, for its residual stream goes past
attention. With a price, a word looks in the end as far as that is worth λ nats to the caption. The price starts at 0: a
model that does not know yet where to look would learn not to. Nor may it come too late, for a softmax that is near 1
hardly moves.

A high price pales nouns too. A Transformer's words read each other: what a noun would look at was seen by the adjective
before it, and one look is cheaper than two. So nouns point worse above some λ.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from torch import Tensor


def image_attention_penalty(attention: Tensor, real: Tensor) -> Tensor:
    """Mean over the words of the share of their attention that fell on the image, 0-1; a scalar.

    Args:
        attention: `[B, C, L, layers, H, N]`, on all of the image's tokens; α is the mean over layers and heads.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    share = attention.float().sum(dim=-1).mean(dim=(3, 4))  # [B, C, L]
    return (share * real).sum() / real.sum().clamp(min=1)
