"""What must ranks agree on, so that several train as one would? How much of a step each has, and when to part.

Data-parallel training averages the gradients of the ranks' mean losses; captions differ in length and photos may be
skipped, so that the mean of means is not the mean over all. Weighted by its share of the words or images that a loss is
the mean of, each rank adds what it would add to one process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor

from captioner.objectives.objective import Losses


def shares(losses: Losses) -> Tensor:
    """This rank's counts over the mean of all ranks' in this step, one for each term; 1 where all have as many.

    Every rank must ask in the same step.
    """
    own = torch.stack([losses.counts[name] for name in losses.terms]).to(torch.float32)
    total = own.clone()
    distributed.all_reduce(total)
    return own * distributed.get_world_size() / total.clamp(min=1)


def sum_over_ranks(values: Sequence[float], device: torch.device) -> list[float]:
    """The sums over all ranks, in float64; the values themselves where there is one process.

    Every rank must ask.

    Args:
        values: One rank's numbers.
        device: Where the ranks' tensors meet.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [float(value) for value in total]


def part() -> None:
    """Leave the group of ranks, all together, if there is one.

    Its threads would otherwise still run while the interpreter ends, which now and then aborts a finished process.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
