"""How is one task done on many items by several processes, in order, and with memory that stays flat?"""

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

_CHUNK = 32  # items handed over at once
_AHEAD = 4  # chunks that wait for each process


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    task: Callable[[Item], Result], items: Sequence[Item], *, processes: int
) -> Iterator[Result]:
    """What `task` gives for each item, in order.

    Args:
        task: Handed to each process once; what it holds must be picklable.
        items: What it is called with.
        processes: So many; 1 works in this process.

    Raises:
        CaptionerError: A process was killed, as where memory is short.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    # A process that is itself a daemon, as a data loader's is, may have no children.
    if processes <= 1 or len(chunks) <= 1 or multiprocessing.current_process().daemon:
        yield from map(task, items)
        return
    waiting: deque[Future[list[Result]]] = deque()
    with ProcessPoolExecutor(min(processes, len(chunks)), initializer=_begin, initargs=(task,)) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_work, chunk))
                if len(waiting) >= _AHEAD * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise CaptionerError(
                "a process that reads photos was killed, perhaps for want of memory; take fewer processes"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_task: Callable[[Any], Any]


def _begin(task: Callable[[Any], Any]) -> None:
    global _task
    _task = task


def _work(chunk: Sequence[Any]) -> list[Any]:
    return [_task(item) for item in chunk]
