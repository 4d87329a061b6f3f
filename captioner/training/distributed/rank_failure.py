"""What is said where a process of a run has died? One sentence in each that lives, and no traceback of its network."""

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

OBSERVER = "lightning.fabric.strategies.launchers.subprocess_script"
"""Names to the logger a process that died, and ends the others, when the first hangs; it looks every five seconds."""
_PATIENCE = 5.0  # seconds until the process that broke the connection has ended


@contextmanager
def naming_the_lost(trainer: lightning.Trainer) -> Iterator[None]:
    """Tell a connection that another rank's death broke as that.

    Raises:
        CaptionerError: Instead of the error of the network.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_the_network(error):
            raise
        started: Sequence[Popen[Any]] = getattr(trainer.strategy.launcher, "procs", ())
        raise CaptionerError(
            f"process {trainer.global_rank} of {trainer.world_size} cannot go on: {_who(started)} ended before the run "
            "did; its own message, if it had time for one, stands beside this; resume= goes on from the last checkpoint"
        ) from error


def _is_of_the_network(error: RuntimeError) -> bool:
    """NCCL's errors have a type; those of gloo are known by its name."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _who(started: Sequence[Popen[Any]]) -> str:
    """The one that failed, among those that this process started; the connection ends a moment before the process."""
    until = time.monotonic() + _PATIENCE
    while started and time.monotonic() < until:
        for rank, process in enumerate(started, 1):
            if status := process.poll():
                return f"process {rank} {_how(status)}"
        time.sleep(0.1)
    return "another process"


def _how(status: int) -> str:
    return f"(killed by {signal.Signals(-status).name})" if status < 0 else f"(status {status})"
