"""How do several processes share an evaluation? Whole batches are dealt out; what is kept of them is gathered.

Processes come from torchrun, or are started here (`processes=2`). A batch holds the same images however many processes
there are, so that each caption is the same to the last bit where a process has as many CPU threads; the first process
then scores all of them, as one alone. With other threads, sums round differently: log-probabilities and maps change in
their seventh digit, and captions would only between two as good as equal.
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

from captioner.cli import status_of
from captioner.errors import CaptionerError, UsageError

# A process that dies ends the others at once; one that is slow must be waited for, however long.
_PATIENCE = timedelta(days=7)

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of an evaluation.

    Attributes:
        rank: This process, from 0. The first scores and writes.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def gather(self, part: Part) -> list[Part]:
        """What each process has, in the order of their ranks, for the first; an empty list for the others."""
        if self.size == 1:
            return [part]
        parts: list[Any] | None = [None] * self.size if self.rank == 0 else None
        distributed.gather_object(part, parts)
        return parts or []


Task = Callable[[DictConfig, Team], int]
"""Takes a configuration and a team, returns the exit status."""


def run_in_team(task: Task, cfg: DictConfig, *, processes: int) -> int:
    """Run `task` in each process of a team; return the exit status.

    Args:
        task: A function at the top of a module.
        cfg: What it takes.
        processes: How many to start. Under torchrun it must be 1, and torchrun's processes are the team.

    Raises:
        UsageError: `processes` is not at least 1, or is given to torchrun's processes as well.
        CaptionerError: A process died.
    """
    if not isinstance(processes, int) or processes < 1:
        raise UsageError(f"processes={processes} must be a whole number of at least 1")
    under_torchrun = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if under_torchrun and processes > 1:
        raise UsageError(f"torchrun has started processes already: leave processes={processes} out")
    if under_torchrun:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
        team = Team(distributed.get_rank(), distributed.get_world_size())
        try:
            return task(cfg, team)
        finally:
            distributed.destroy_process_group()
    return task(cfg, Team()) if processes == 1 else _start(task, cfg, processes)


def _start(task: Task, cfg: DictConfig, size: int) -> int:
    """Start processes, wait for all, and end all as soon as one fails."""
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // size)
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # leaves none behind
    with tempfile.TemporaryDirectory() as folder:
        shared = (OmegaConf.to_container(cfg, resolve=True), size, threads, Path(folder) / "store")
        members = [
            spawn.Process(target=_member, args=(task, rank, *shared), daemon=True) for rank in range(size)
        ]
        try:
            for member in members:
                member.start()
            waiting = {member.sentinel: rank for rank, member in enumerate(members)}
            while waiting:
                for sentinel in wait(list(waiting)):
                    rank = waiting.pop(sentinel)  # type: ignore[arg-type]
                    members[rank].join()
                    status = members[rank].exitcode
                    if status and status < 0:
                        raise CaptionerError(
                            f"process {rank} of {size} was ended by signal {-status}; where memory is short, "
                            "take fewer processes or a smaller batch_size"
                        )
                    if status:
                        return status
        finally:
            for member in members:
                if member.pid is not None:
                    member.terminate()
                    member.join()
            signal.signal(signal.SIGTERM, before)
    return 0


def _member(task: Task, rank: int, settings: dict[str, Any], size: int, threads: int, store: Path) -> None:
    """One of the processes that `_start` starts."""
    torch.set_num_threads(threads)
    distributed.init_process_group(
        "gloo", init_method=store.as_uri(), rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        status = status_of(lambda: task(OmegaConf.create(settings), Team(rank, size)))
    except KeyboardInterrupt:
        status = 130
    distributed.destroy_process_group()
    sys.exit(status)
