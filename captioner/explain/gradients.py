"""How does the log-probability of each word change with what the model computed? One batched backward pass.

Axis letters: `B` captions, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def token_gradients(logprobs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gradient of every token's log-probability, all tokens in one batched backward pass.

    Rows of a batch do not meet in a model in evaluation mode, so that their gradients can be taken together. No
    `.grad` is written.

    Args:
        logprobs: `[B, L]`.
        inputs: Tensors `[B, ...]` from which `logprobs` was computed.

    Returns:
        For each input the gradients `[L, B, ...]`.
    """
    each = torch.eye(logprobs.shape[1], dtype=logprobs.dtype, device=logprobs.device)
    return list(torch.autograd.grad(logprobs.sum(dim=0), inputs, each, is_grads_batched=True))
