"""Error report of a distributed run in which a rank has died: one sentence in each other rank, no traceback."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import lightning
from torch import distributed

from captioner.errors import CaptionerError

LAUNCHER_LOGGER = "lightning.fabric.strategies.launchers.subprocess_script"
"""Logger of Lightning's launcher, which checks every five seconds for a dead process, reports it and ends the rest."""
_TIMEOUT = 5.0  # seconds to wait for the exit status of the process that broke the connection


@contextmanager
def report_rank_failure(trainer: lightning.Trainer) -> Iterator[None]:
    """Report connection errors caused by a dead rank as such.

    Raises:
        CaptionerError: In place of the error of NCCL or gloo.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_connection_error(error):
            raise
        children: Sequence[Popen[Any]] = getattr(trainer.strategy.launcher, "procs", ())
        raise CaptionerError(
            f"process {trainer.global_rank} of {trainer.world_size} cannot continue: {_dead_process(children)} ended "
            "early; see its own message, if it printed one, and continue from the last checkpoint with resume=FOLDER"
        ) from error


def _is_connection_error(error: RuntimeError) -> bool:
    """NCCL's errors have a type of their own; gloo's are recognised by their text."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _dead_process(children: Sequence[Popen[Any]]) -> str:
    """The failed process, if this process started it; its connection breaks slightly before it ends."""
    deadline = time.monotonic() + _TIMEOUT
    while children and time.monotonic() < deadline:
        for rank, process in enumerate(children, 1):
            if status := process.poll():
                return f"process {rank} {_describe(status)}"
        time.sleep(0.1)
    return "another process"


def _describe(status: int) -> str:
    return f"(killed by {signal.Signals(-status).name})" if status < 0 else f"(status {status})"
