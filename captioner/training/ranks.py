"""What must ranks agree on, so that several train as one would? How much of a step's words each has.

Data-parallel training averages the gradients of the ranks' mean losses; captions differ in length, so that the mean of
means is not the mean over all words. Weighted by its share of the words, each rank adds what it would add to one.
"""

from __future__ import annotations

import torch
import torch.distributed as distributed
from torch import Tensor


def share_of_words(tokens: Tensor, *, pad_id: int) -> Tensor:
    """This rank's words over the mean of all ranks' in this step; a scalar, 1 where all have as many.

    Every rank must ask in the same step.

    Args:
        tokens: int64 `[B, C, L]`, starting with BOS.
        pad_id: The padding.
    """
    own = (tokens[:, :, 1:] != pad_id).sum().to(torch.float32)
    total = own.clone()
    distributed.all_reduce(total)
    return own * distributed.get_world_size() / total.clamp(min=1)
