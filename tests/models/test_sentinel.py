from __future__ import annotations

import torch

from captioner.models.sentinel import VisualSentinel


def test_it_is_the_gated_memory_of_the_paper() -> None:
    torch.manual_seed(0)
    made = VisualSentinel(5, 3).double()
    x, h, memory = torch.randn(5).double(), torch.randn(3).double(), torch.randn(3).double()
    gate = 1 / (1 + (-(made.from_input.weight @ x + made.from_input.bias + made.from_state.weight @ h)).exp())
    torch.testing.assert_close(made(x, h, memory), gate * memory.tanh())
