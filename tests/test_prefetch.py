from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from captioner.prefetch import BusyClock, buffered, in_batches, read_ahead


def test_batches_hold_everything_in_order() -> None:
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


@pytest.mark.parametrize("readers", [0, 1, 4])
def test_what_is_read_ahead_keeps_its_order(readers: int) -> None:
    def read(item: int) -> int:
        time.sleep(0.002 * (item % 3))  # later items are ready earlier
        return -item

    threads = torch.get_num_threads()
    made = list(read_ahead(in_batches(range(20), 6), read, readers=readers))
    assert made == [[-item for item in batch] for batch in in_batches(range(20), 6)]
    assert torch.get_num_threads() == threads


def test_no_more_is_taken_than_two_batches_ahead() -> None:
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
def test_what_reading_raises_is_raised_in_its_place(readers: int) -> None:
    def read(item: int) -> int:
        if item == 4:
            raise ValueError("four")
        return item

    made = read_ahead(in_batches(range(8), 2), read, readers=readers)
    assert [next(made), next(made)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="four"):
        next(made)


def test_a_buffer_works_while_nobody_asks() -> None:
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


def test_a_buffer_hands_on_errors_and_nones() -> None:
    def items() -> Iterator[int | None]:
        yield None
        yield 1
        raise KeyError("gone")

    buffer = buffered(items(), 3)
    assert [next(buffer), next(buffer)] == [None, 1]
    with pytest.raises(KeyError, match="gone"):
        next(buffer)


def test_closing_a_buffer_ends_its_thread_and_what_it_runs() -> None:
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


def test_busy_counts_stages_beside_each_other_once() -> None:
    busy = BusyClock()
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        with busy():
            time.sleep(0.2)

    threads = [threading.Thread(target=work) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    assert 0.2 <= busy.seconds <= took
    with busy():
        pass
    assert busy.seconds <= time.monotonic() - began
