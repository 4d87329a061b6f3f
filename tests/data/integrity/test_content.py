"""Is a change of any file noticed, and is nothing read again that has not changed?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from captioner.data.integrity import content
from captioner.data.integrity.content import content_digest


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * 100)
    return made


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files be of some time ago."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    whole = content._digest
    monkeypatch.setattr(content, "_digest", lambda path: (read.append(path), whole(path))[1])
    return read


def test_bytes_and_order_matter_and_names_do_not(paths: list[Path], tmp_path: Path) -> None:
    found = content_digest(paths)
    assert content_digest(paths[::-1]) != found
    assert content_digest(paths[:2]) != found
    moved = paths[0].rename(tmp_path / "moved.bin")
    assert content_digest([moved, *paths[1:]]) == found
    moved.unlink()
    assert content_digest([moved, *paths[1:]]) != found


def test_what_has_not_changed_is_not_read_again(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    read, memory = reads(monkeypatch), tmp_path / "memory.json"
    found = content_digest(paths, memory=memory)
    assert content_digest(paths, memory=memory) == found
    assert read == paths
    # As many bytes, and the time set back: the time of that change stays.
    state = paths[1].stat()
    paths[1].write_bytes(b"x" * 100)
    os.utime(paths[1], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content_digest(paths, memory=memory) != found
    memory.write_text("{")
    assert content_digest(paths, memory=memory) == content_digest(paths)


def test_what_changed_just_now_is_not_remembered(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within the clock's grain would not show in the file's times."""
    read = reads(monkeypatch)
    for _ in range(2):
        content_digest(paths, memory=tmp_path / "memory.json")
    assert read == paths * 2
