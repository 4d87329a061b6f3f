from __future__ import annotations

import os
import signal

import pytest

from captioner.data.processes import cores, in_processes
from captioner.errors import CaptionerError


def square(number: int) -> int:
    return number * number


def killed_at_40(number: int) -> int:
    if number == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_items(processes: int) -> None:
    items = range(100, 0, -1)
    assert list(in_processes(square, items, processes=processes)) == [number * number for number in items]
    assert list(in_processes(square, [], processes=processes)) == []


def test_a_killed_process_is_reported() -> None:
    with pytest.raises(CaptionerError, match="process that reads photos was killed"):
        list(in_processes(killed_at_40, range(100), processes=2))


def test_there_is_at_least_one_core() -> None:
    assert cores() >= 1
