"""Visual sentinel: a summary of the decoder's own state that competes with the image tokens for attention.

    g = σ(Wₓ x + Wₕ h)        the gate on the memory
    s = g ⊙ tanh(m)           the sentinel: what the decoder knows without the image

The weight it receives, β in the paper, is the share of attention that does not go to the image.

Source: Lu, Xiong, Parikh & Socher 2017, "Knowing When to Look: Adaptive Attention via a Visual Sentinel for Image
Captioning". There x is the LSTM's input, h its previous hidden state and m its memory cell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.models.linear import Linear


class VisualSentinel(nn.Module):
    """σ(Wₓ x + Wₕ h) ⊙ tanh(m).

    Args:
        input_dim: Width of x.
        dim: Width `D` of h, m and the sentinel.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.from_input = Linear(input_dim, dim)
        self.from_state = Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, h: Tensor, memory: Tensor) -> Tensor:
        """The sentinel `[..., D]` of an input `[..., input_dim]`, a state and a memory `[..., D]`."""
        gate = torch.sigmoid(self.from_input(x) + self.from_state(h))
        return gate * torch.tanh(memory)
