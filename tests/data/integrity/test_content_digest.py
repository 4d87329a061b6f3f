from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from captioner.data.integrity.content_digest import content_digest


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * 100)
    return made


def record_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of bytes opened from now on."""
    opened: list[Path] = []
    original = Path.open

    def recording(self: Path, *args: Any, **options: Any) -> Any:
        if self.suffix == ".bin":
            opened.append(self)
        return original(self, *args, **options)

    monkeypatch.setattr(Path, "open", recording)
    return opened


def test_bytes_and_order_matter_and_names_do_not(paths: list[Path], tmp_path: Path) -> None:
    digest = content_digest(paths)
    assert content_digest(paths[::-1]) != digest
    assert content_digest(paths[:2]) != digest
    moved = paths[0].rename(tmp_path / "moved.bin")
    assert content_digest([moved, *paths[1:]]) == digest
    moved.unlink()
    assert content_digest([moved, *paths[1:]]) != digest


def test_unchanged_files_are_not_read_again(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)  # the files are a minute old
    opened, cache = record_reads(monkeypatch), tmp_path / "cache.json"
    digest = content_digest(paths, cache=cache)
    assert content_digest(paths, cache=cache) == digest
    assert opened == paths
    # The same number of bytes and the same modification time; the change time differs.
    state = paths[1].stat()
    with open(paths[1], "wb") as file:
        file.write(b"x" * 100)
    os.utime(paths[1], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content_digest(paths, cache=cache) != digest
    cache.write_text("{")
    assert content_digest(paths, cache=cache) == content_digest(paths)


def test_a_recent_change_is_not_cached(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within the resolution of the clock would not show in the file's times."""
    opened = record_reads(monkeypatch)
    for _ in range(2):
        content_digest(paths, cache=tmp_path / "cache.json")
    assert opened == paths * 2
