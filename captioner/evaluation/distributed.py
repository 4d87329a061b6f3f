"""Evaluation by several processes: each captions whole batches, the first gathers and scores.

Processes come from torchrun, or are started here (`processes=2`). A batch holds the same images whatever the number of
processes, so that each caption is the same to the last bit if every process has as many CPU threads as a single process
would have. With another number of threads, sums round differently: log-probabilities and maps change in their seventh
digit, and a caption changes only where two have nearly equal scores.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from omegaconf import DictConfig, OmegaConf

from captioner.errors import CaptionerError, UsageError, status_of

# The death of a process ends the others at once; a slow one is waited for, however long.
_TIMEOUT = timedelta(days=7)

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of an evaluation.

    Attributes:
        rank: This process, from 0. The first scores and writes.
        size: The number of processes.
    """

    rank: int = 0
    size: int = 1

    def gather(self, part: Part) -> list[Part]:
        """The parts of all processes by rank, in the first process; an empty list in the others."""
        if self.size == 1:
            return [part]
        parts: list[Any] | None = [None] * self.size if self.rank == 0 else None
        distributed.gather_object(part, parts)
        return parts or []


Task = Callable[[DictConfig, ProcessGroup], int]
"""Takes a configuration and the processes, returns the exit status."""


def run_processes(task: Task, cfg: DictConfig, *, processes: int) -> int:
    """Run `task` in each of several processes; return the exit status.

    Args:
        task: A function at the top of a module.
        cfg: Its configuration.
        processes: The number of processes to start. Under torchrun it must be 1, and the processes are torchrun's.

    Raises:
        UsageError: `processes` is below 1, or above 1 under torchrun.
        CaptionerError: A process died.
    """
    if not isinstance(processes, int) or processes < 1:
        raise UsageError(f"processes={processes} must be a whole number of at least 1")
    under_torchrun = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if under_torchrun and processes > 1:
        raise UsageError(f"torchrun has started the processes: leave processes={processes} out")
    if under_torchrun:
        distributed.init_process_group("gloo", timeout=_TIMEOUT)
        group = ProcessGroup(distributed.get_rank(), distributed.get_world_size())
        try:
            return task(cfg, group)
        finally:
            distributed.destroy_process_group()
    return task(cfg, ProcessGroup()) if processes == 1 else _start(task, cfg, processes)


def _start(task: Task, cfg: DictConfig, size: int) -> int:
    """Start the processes and wait for all; the first failure ends the others."""
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // size)
    # A signal that ends this process must pass through `finally`, which ends the others.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        shared = (OmegaConf.to_container(cfg, resolve=True), size, threads, Path(folder) / "store")
        workers = [
            spawn.Process(target=_worker, args=(task, rank, *shared), daemon=True) for rank in range(size)
        ]
        try:
            for worker in workers:
                worker.start()
            waiting = {worker.sentinel: rank for rank, worker in enumerate(workers)}
            while waiting:
                for sentinel in wait(list(waiting)):
                    rank = waiting.pop(sentinel)  # type: ignore[arg-type]
                    workers[rank].join()
                    status = workers[rank].exitcode
                    if status and status < 0:
                        raise CaptionerError(
                            f"process {rank} of {size} was ended by signal {-status}; where memory is short, "
                            "take fewer processes or a smaller batch_size"
                        )
                    if status:
                        return status
        finally:
            for worker in workers:
                if worker.pid is not None:
                    worker.terminate()
                    worker.join()
            signal.signal(signal.SIGTERM, before)
    return 0


def _worker(task: Task, rank: int, settings: dict[str, Any], size: int, threads: int, store: Path) -> None:
    """The body of a process that `_start` starts."""
    torch.set_num_threads(threads)
    distributed.init_process_group(
        "gloo", init_method=store.as_uri(), rank=rank, world_size=size, timeout=_TIMEOUT
    )
    try:
        status = status_of(lambda: task(OmegaConf.create(settings), ProcessGroup(rank, size)))
    except KeyboardInterrupt:
        status = 130
    distributed.destroy_process_group()
    sys.exit(status)
