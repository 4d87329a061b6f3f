"""Tests of captioner/malloc.py, in processes of their own, since the setting lasts as long as a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# glibc says of itself how many blocks it took from the system by mmap: with memory kept, blocks of 64 MB are none.
_MAPPED = """
import ctypes, sys
from captioner.malloc import keep_freed_memory

done = keep_freed_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if not hasattr(libc, "mallinfo2"):
    sys.exit(77)

class Info(ctypes.Structure):  # mallinfo(3)
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]

libc.mallinfo2.restype = Info
before = libc.mallinfo2()
block = libc.malloc(64 << 20)
mapped = libc.mallinfo2().hblks - before.hblks
libc.free(block)
kept = libc.mallinfo2().fordblks - before.fordblks
print(done, mapped, kept >> 20)
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is glibc's")


def _run(word: str, **variables: str) -> tuple[str, int, int]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    finished = subprocess.run(
        [sys.executable, "-c", _MAPPED, word],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, **variables},
    )
    if finished.returncode == 77:
        pytest.skip("this C library has no mallinfo2")
    assert finished.returncode == 0, finished.stderr
    done, mapped, kept = finished.stdout.split()
    return done, int(mapped), int(kept)


@linux
def test_freed_memory_is_kept() -> None:
    assert _run("default") == ("None", 1, 0)  # mapped, and given back when it is freed
    done, mapped, kept = _run("keep")
    assert (done, mapped) == ("True", 0)
    assert kept >= 64


@linux
def test_settings_of_the_environment_are_left_alone() -> None:
    assert _run("keep", MALLOC_ARENA_MAX="2") == ("False", 1, 0)
