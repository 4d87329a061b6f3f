"""Tests of captioner/malloc.py, in fresh processes: the setting lasts as long as the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import numpy as np
from captioner.malloc import keep_freed_memory

done = keep_freed_memory() if sys.argv[1] == "keep" else None

def faults(rounds):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.ones(64 << 20, np.uint8)  # 64 MB, written and freed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

faults(1)
print(done, faults(4))
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is glibc's")


def _run(word: str, **variables: str) -> tuple[str, int]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    out = subprocess.run(
        [sys.executable, "-c", _FAULTS, word],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, **variables},
    )
    done, faults = out.stdout.split()
    return done, int(faults)


@linux
def test_a_freed_block_serves_the_next_one() -> None:
    done, kept = _run("keep")
    _, given_back = _run("default")
    assert done == "True"
    # With huge pages a block of 64 MB takes 32 faults, without them 16,384: each round pays them again, or none does.
    assert kept < 32 <= given_back


@linux
def test_a_users_own_settings_are_left_alone() -> None:
    assert _run("keep", MALLOC_ARENA_MAX="2")[0] == "False"
