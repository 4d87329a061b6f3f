"""Gradients of each token's log-probability with respect to activations, by one batched backward pass.

Axis letters: `B` captions, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def token_gradients(logprobs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gradient of every token's log-probability, all tokens in one batched backward pass.

    In evaluation mode the rows of a batch are independent, so their gradients can be computed together. No `.grad` is
    written.

    Args:
        logprobs: `[B, L]`.
        inputs: Tensors `[B, ...]` from which `logprobs` was computed.

    Returns:
        Gradients `[L, B, ...]`, one tensor per input.
    """
    each = torch.eye(logprobs.shape[1], dtype=logprobs.dtype, device=logprobs.device)
    return list(torch.autograd.grad(logprobs.sum(dim=0), inputs, each, is_grads_batched=True))
