"""Attention supervision: a loss on attention outside the boxes of the object that a token names.

    -log Σᵢ rₜᵢ αₜᵢ           rₜᵢ the fraction of cell i inside the boxes of what token t names

the negative logarithm of the attention mass on the object.

Sources: Liu et al. 2017, "Attention Correctness in Neural Image Captioning"; Zhou et al. 2019, "Grounded Video
Description" (the logarithm of the mass on the object).

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` grid cells.
"""

from __future__ import annotations

from torch import Tensor

FLOOR = 0.01
"""Mass below which the logarithm is continued by its tangent: sparse attention may be exactly 0 on an object."""


def attention_supervision(attention: Tensor, regions: Tensor) -> Tensor:
    """Mean of -log of the attention mass on the region, over the tokens that have one; 0 if none has.

    Args:
        attention: `[B, C, L, layers, H, N]`, on grid cells only; α is the mean over layers and heads.
        regions: `[B, C, L, N]` in [0, 1], the region of the token predicted at each position; all 0 if it has none.
    """
    alpha = attention.float().mean(dim=(3, 4))  # [B, C, L, N]
    mass = (alpha * regions).sum(dim=-1)
    has_region = regions.amax(dim=-1) > 0
    loss = -mass.clamp(min=FLOOR).log() + (FLOOR - mass).clamp(min=0) / FLOOR
    return (loss * has_region).sum() / has_region.sum().clamp(min=1)
