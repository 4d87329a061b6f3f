"""Did the word look where its object is? Attention supervision, where boxes are known.

    -log Σᵢ rₜᵢ αₜᵢ           rₜᵢ the share of cell i that lies in the boxes of what word t names

the negative logarithm of the attention that fell on the object.

Sources: Liu et al. 2017, "Attention Correctness in Neural Image Captioning"; Zhou et al. 2019, "Grounded Video
Description" (the logarithm of the mass on the object).

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` places on the grid.
"""

from __future__ import annotations

from torch import Tensor

FLOOR = 0.01
"""Below this mass the logarithm goes on as a straight line: sparse attention may miss an object altogether."""


def attention_supervision(attention: Tensor, regions: Tensor) -> Tensor:
    """Mean over the words that have a region of -log of the attention there; 0 where no word has one.

    Args:
        attention: `[B, C, L, layers, H, N]`, on the grid alone; α is the mean over layers and heads.
        regions: `[B, C, L, N]` in 0–1, the region of the token predicted at each place; all 0 where it has none.
    """
    alpha = attention.float().mean(dim=(3, 4))  # [B, C, L, N]
    mass = (alpha * regions).sum(dim=-1)
    known = regions.amax(dim=-1) > 0
    surprise = -mass.clamp(min=FLOOR).log() + (FLOOR - mass).clamp(min=0) / FLOOR
    return (surprise * known).sum() / known.sum().clamp(min=1)
