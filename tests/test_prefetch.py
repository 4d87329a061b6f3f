from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from captioner.prefetch import BusyClock, buffered, in_batches, read_ahead


def test_batches_hold_everything_in_order() -> None:
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


@pytest.mark.parametrize("readers", [0, 1, 4])
def test_reading_ahead_keeps_the_order(readers: int) -> None:
    def read(item: int) -> int:
        time.sleep(0.002 * (item % 3))  # later items are ready earlier
        return -item

    threads = torch.get_num_threads()
    made = list(read_ahead(in_batches(range(20), 6), read, readers=readers))
    assert made == [[-item for item in batch] for batch in in_batches(range(20), 6)]
    assert torch.get_num_threads() == threads


def test_at_most_two_batches_are_read_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[list[int]]:
        for number in range(50):
            taken.append(number)
            yield [number]

    made = read_ahead(items(), lambda item: item, readers=2)
    next(made)
    assert taken == [0, 1, 2]
    made.close()
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("readers", [0, 2])
def test_an_error_of_reading_is_raised_in_its_place(readers: int) -> None:
    def read(item: int) -> int:
        if item == 4:
            raise ValueError("four")
        return item

    made = read_ahead(in_batches(range(8), 2), read, readers=readers)
    assert [next(made), next(made)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="four"):
        next(made)


def test_a_buffer_fills_without_a_request() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    buffer = buffered(items(), 2)
    assert next(buffer) == 0
    assert enough.wait(10)  # one taken, two in the buffer, one in hand
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    assert list(buffer) == list(range(1, 10))


def test_a_buffer_passes_on_errors_and_none() -> None:
    def items() -> Iterator[int | None]:
        yield None
        yield 1
        raise KeyError("gone")

    buffer = buffered(items(), 3)
    assert [next(buffer), next(buffer)] == [None, 1]
    with pytest.raises(KeyError, match="gone"):
        next(buffer)


def test_closing_a_buffer_ends_its_thread_and_its_generator() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    buffer = buffered(items())
    next(buffer)
    buffer.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_the_busy_clock_counts_overlapping_work_once(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([1.0, 4.0, 10.0, 11.0])
    monkeypatch.setattr("captioner.prefetch.time", SimpleNamespace(monotonic=lambda: next(readings)))
    busy = BusyClock()
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with busy():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    with busy():  # from 1
        thread.start()
        assert inside.wait(10)
    assert busy.seconds == 0  # the thread still works
    leave.set()
    thread.join()  # until 4
    assert busy.seconds == 3
    with busy():  # from 10 to 11
        pass
    assert busy.seconds == 4
