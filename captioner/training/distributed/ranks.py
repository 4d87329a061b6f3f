"""Collective operations on losses and sums of all ranks.

Data-parallel training averages the gradients of the ranks' mean losses. Captions differ in length and photos may be
skipped, so the mean of the ranks' means is not the mean over all tokens. Weighting each rank's loss by its count makes
the averaged gradient that of a single process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor

from captioner.objectives.objective import Losses


def rank_weights(losses: Losses) -> Tensor:
    """This rank's count of each term over the mean count of all ranks `[terms]`; 1 where all ranks have as many.

    A collective call: every rank must make it in the same step.
    """
    own = torch.stack([losses.counts[name] for name in losses.terms]).to(torch.float32)
    total = own.clone()
    distributed.all_reduce(total)
    return own * distributed.get_world_size() / total.clamp(min=1)


def sum_over_ranks(values: Sequence[float], device: torch.device) -> list[float]:
    """The sums over all ranks in float64; `values` themselves in a single process. A collective call.

    Args:
        values: This rank's numbers.
        device: Device of the communication.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [float(value) for value in total]


def leave_process_group() -> None:
    """Destroy the process group, all ranks together, if there is one.

    Its threads would otherwise still run while the interpreter exits, which occasionally aborts a finished process.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
