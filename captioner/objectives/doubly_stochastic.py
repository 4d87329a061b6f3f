"""Doubly stochastic attention regularisation: each grid cell should receive a total attention of 1 over a caption.

    λ Σᵢ (1 - Σₜ αₜᵢ)²        added to -log P(caption)

Source: Xu et al. 2015, "Show, Attend and Tell", equation 14. With several heads and layers, α is their mean, as in the
maps that overlays show.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` grid cells.
"""

from __future__ import annotations

from torch import Tensor


def doubly_stochastic(attention: Tensor, real: Tensor) -> Tensor:
    """Σᵢ (1 - Σₜ αₜᵢ)² summed over captions and divided by their tokens, as cross-entropy is, so that λ is the paper's.

    Args:
        attention: `[B, C, L, layers, H, N]`, on grid cells only.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    alpha = attention.float().mean(dim=(3, 4)) * real[..., None]  # [B, C, L, N]
    error = (1 - alpha.sum(dim=2)).square().sum(dim=-1)  # [B, C]
    return (error * real.any(dim=-1)).sum() / real.sum().clamp(min=1)
