"""Hard attention: one key instead of the weighted mean of all.

    s ~ Multinoulli(α),  ẑ = Σᵢ [s = i] vᵢ         in training
    s = argmax α                                   in evaluation

The choice has no gradient: it is trained by REINFORCE (`objectives.reinforce`) on what was drawn.

Source: Xu et al. 2015, "Show, Attend and Tell", section 4.1.

Axis letters: `B` images, `H` heads, `Q` queries, `N` keys.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.models.decoders.decoder_output import Choice


def choose_key(weights: Tensor, *, draw: bool) -> tuple[Tensor, Choice]:
    """Put the whole weight on one key.

    Args:
        weights: `[B, H, Q, N]`, which sum to 1.
        draw: Draw the key at random, by the weights; else take the largest.

    Returns:
        The weights with 1 at one key and 0 elsewhere, and the log-probability and entropy of the choice, `[B, H, Q]`
        each.
    """
    N = weights.shape[-1]
    if draw:
        index = torch.multinomial(weights.detach().flatten(0, -2).float(), 1).view(weights.shape[:-1])
    else:
        index = weights.argmax(dim=-1)
    tiny = torch.finfo(weights.dtype).tiny
    logs = weights.clamp(min=tiny).log()
    choice = Choice(logs.gather(-1, index[..., None])[..., 0], -(weights * logs).sum(dim=-1))
    return F.one_hot(index, N).to(weights.dtype), choice
