"""Is freed memory really kept?"""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from captioner.training.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_pages_are_used_again() -> None:
    assert keep_freed_memory()
    for _ in range(4):  # until the heap has found its form
        torch.ones(2**23)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**23)
    # Five times 32 MB are 40,960 pages when they are fetched anew, as they are by default.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20_000
