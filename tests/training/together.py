"""How do tests start real ranks that meet by gloo, without the seconds that new interpreters take?"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from captioner.cli import status_of
from captioner.train import train

Task = Callable[[DictConfig], int]
PRELOADED = ["captioner.bulk.command", "captioner.captioning.engine", "captioner.training.fit", "timm"]


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Starts processes that have torch and the package at hand: imported once for all tests of this process."""
    root = str(Path(__file__).parents[2])
    if root not in sys.path:
        sys.path.append(root)  # where the processes find the tests' own functions
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


@dataclass(frozen=True)
class Ended:
    """What ranks left behind, one by one."""

    statuses: list[int | None]
    told: list[str]


def train_ranks(cfg: DictConfig, task: Task = train, *, ranks: int = 2) -> None:
    """Call `task` with `cfg` in ranks that meet on this machine; fails with what they wrote if one fails."""
    ended = run_ranks(cfg, task, ranks=ranks)
    assert ended.statuses == [0] * ranks, "\n".join(ended.told)


def run_ranks(cfg: DictConfig, task: Task = train, *, ranks: int = 2, timeout: float = 300) -> Ended:
    """As `train_ranks`, where ranks may fail."""
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
    return Ended(statuses, [log.read_text() for log in logs])


def _rank(cfg: DictConfig, task: Task, rank: int, ranks: int, port: int, log: Path) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),  # says to Lightning that the other ranks are there
    }
    multiprocessing.set_start_method(
        "fork", force=True
    )  # for its readers, which would else import torch again
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(status_of(lambda: task(cfg)))
