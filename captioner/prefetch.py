"""Overlap of reading, computing and writing: ordered reading in threads, buffered stages, a clock of busy time.

Threads, not processes: Pillow and torch release Python's lock while they decode and resize, and nothing is copied.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import Empty, Full, Queue
from typing import TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 2  # batches that are read while one computes
_POLL = 0.1  # seconds until a stage notices that its consumer has stopped


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last perhaps shorter, taken as they are needed."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def read_ahead(
    batches: Iterable[Sequence[Item]], read: Callable[[Item], Made], *, readers: int
) -> Generator[list[Made], None, None]:
    """Read the items of each batch in threads, two batches ahead of the consumer, in order.

    Args:
        batches: Taken as they are needed, so that memory stays constant.
        read: Reads one item; safe in threads. What it raises is raised in the item's place.
        readers: Number of threads; 0 reads in this one, without reading ahead.
    """
    if not readers:
        for batch in batches:
            yield [read(item) for item in batch]
        return
    threads = torch.get_num_threads()
    # A photo is too small to split over threads: each reader computes with one.
    with ThreadPoolExecutor(readers, "read", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[list[Future[Made]]] = deque()
        try:
            for batch in batches:
                waiting.append([pool.submit(read, item) for item in batch])
                torch.set_num_threads(threads)  # a reader's setting is also the default of later threads
                if len(waiting) > _AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def buffered(items: Iterable[Item], size: int = 1) -> Generator[Item, None, None]:
    """Produce items in a background thread, up to `size` ahead of the consumer; its exceptions are raised here."""
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(size)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(Full):
                ready.put((item, error), timeout=_POLL)
                return True
        return False

    def fill() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item, None):
                    break
            else:
                put(None, StopIteration())
        except BaseException as error:
            put(None, error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item may itself be None
    finally:
        stopped.set()
        with contextlib.suppress(Empty):
            ready.get_nowait()
        thread.join()


class BusyClock:
    """The time in which at least one of several threads works.

    Attributes:
        seconds: The sum, up to the last moment at which no thread worked.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._active = 0
        self._since = 0.0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Count the time within this context."""
        with self._lock:
            if self._active == 0:
                self._since = time.monotonic()
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if self._active == 0:
                    self.seconds += time.monotonic() - self._since
