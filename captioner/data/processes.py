"""Parallel map over processes, in order and with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from captioner.errors import CaptionerError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32  # items per submission
_AHEAD = 4  # submitted chunks per process


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    task: Callable[[Item], Result], items: Sequence[Item], *, processes: int
) -> Iterator[Result]:
    """The results of `task` for the items, in order.

    Args:
        task: Sent to each process once; must be picklable.
        items: Its arguments.
        processes: The number of processes; 1 runs in this process.

    Raises:
        CaptionerError: A process was killed, for example because memory ran out.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    # A daemonic process, such as a data loader's worker, may not have children.
    if processes <= 1 or len(chunks) <= 1 or multiprocessing.current_process().daemon:
        yield from map(task, items)
        return
    waiting: deque[Future[list[Result]]] = deque()
    with ProcessPoolExecutor(min(processes, len(chunks)), initializer=_set_task, initargs=(task,)) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_run, chunk))
                if len(waiting) >= _AHEAD * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise CaptionerError(
                "a process that reads photos was killed, possibly because memory ran out; use fewer processes"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_task: Callable[[Any], Any]


def _set_task(task: Callable[[Any], Any]) -> None:
    global _task
    _task = task


def _run(chunk: Sequence[Any]) -> list[Any]:
    return [_task(item) for item in chunk]
