"""Which one place does a word look at? Hard attention: one place instead of a weighted mean of all.

    s ~ Multinoulli(α),  ẑ = Σᵢ [s = i] vᵢ         while it learns
    s = argmax α                                   afterwards

The choice itself has no gradient: it is learned by REINFORCE (`objectives.reinforce`) from what was drawn.

Source: Xu et al. 2015, "Show, Attend and Tell", section 4.1.

Axis letters: `B` images, `H` heads, `Q` queries, `N` keys.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.models.decoders.decoder_output import Choice


class HardChoice:
    """Puts the whole weight on one key, and remembers what it drew.

    Args:
        draw: Draw the key at random, by the weights; else take the heaviest.

    Attributes:
        choices: One entry a call, `[B, H, Q]` each: log-probability and entropy of what was drawn.
    """

    def __init__(self, *, draw: bool) -> None:
        self.draw = draw
        self.choices: list[Choice] = []

    def __call__(self, weights: Tensor) -> Tensor:
        """The weights `[B, H, Q, N]`, which sum to 1, with 1 at one key and 0 elsewhere."""
        N = weights.shape[-1]
        if self.draw:
            index = torch.multinomial(weights.detach().flatten(0, -2).float(), 1).view(weights.shape[:-1])
        else:
            index = weights.argmax(dim=-1)
        tiny = torch.finfo(weights.dtype).tiny
        logs = weights.clamp(min=tiny).log()
        self.choices.append(Choice(logs.gather(-1, index[..., None])[..., 0], -(weights * logs).sum(dim=-1)))
        return F.one_hot(index, N).to(weights.dtype)
