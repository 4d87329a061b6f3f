"""Was the whole picture looked at? Doubly stochastic attention: over a caption, each place should get its share.

    λ Σᵢ (1 - Σₜ αₜᵢ)²        added to -log P(caption)

Source: Xu et al. 2015, "Show, Attend and Tell", equation 14. With several heads and layers, α is their mean, as in the
maps that are shown.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` places on the grid.
"""

from __future__ import annotations

from torch import Tensor


def doubly_stochastic(attention: Tensor, real: Tensor) -> Tensor:
    """Σᵢ (1 - Σₜ αₜᵢ)², summed over captions and divided by their tokens, as cross-entropy is: so λ is the paper's.

    Args:
        attention: `[B, C, L, layers, H, N]`, on the grid alone.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    alpha = attention.float().mean(dim=(3, 4)) * real[..., None]  # [B, C, L, N]
    miss = (1 - alpha.sum(dim=2)).square().sum(dim=-1)  # [B, C]
    return (miss * real.any(dim=-1)).sum() / real.sum().clamp(min=1)
