"""Distributed runs in forked processes over gloo, without the start-up time of new interpreters."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from captioner.errors import status_of
from captioner.train import train

Task = Callable[[DictConfig], int]
PRELOADED = ["captioner.bulk.command", "captioner.captioning.engine", "captioner.training.fit", "timm"]


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Starts processes with torch and the package already imported, once for all tests of this process."""
    root = str(Path(__file__).parents[2])
    if root not in sys.path:
        sys.path.append(root)  # for functions of the test modules
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


@dataclass(frozen=True)
class RankResults:
    """Exit status and output of each rank."""

    statuses: list[int | None]
    outputs: list[str]


def train_ranks(cfg: DictConfig, task: Task = train, *, ranks: int = 2) -> None:
    """Call `task` with `cfg` in ranks on this machine; fails with their output if one fails."""
    results = run_ranks(cfg, task, ranks=ranks)
    assert results.statuses == [0] * ranks, "\n".join(results.outputs)


def run_ranks(cfg: DictConfig, task: Task = train, *, ranks: int = 2, timeout: float = 300) -> RankResults:
    """As `train_ranks`, for ranks that may fail."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"rank-{rank}.txt" for rank in range(ranks)]
    processes = [
        forkserver().Process(target=_rank, args=(cfg, task, rank, ranks, port, log))
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return RankResults(statuses, [log.read_text() for log in logs])


def _rank(cfg: DictConfig, task: Task, rank: int, ranks: int, port: int, log: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),  # tells Lightning not to start the other ranks
    }
    # For the loader's workers, which would otherwise import torch again.
    multiprocessing.set_start_method("fork", force=True)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(status_of(lambda: task(cfg)))
