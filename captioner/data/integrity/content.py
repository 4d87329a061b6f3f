"""Have the files of a dataset changed? One digest of all their bytes, read once and then remembered.

A file that is edited to another of the same size changes the digest, a copy of the files on another disk does not.
Reading all of them takes some seconds for each gigabyte, so the digest is kept with the files' sizes and times: as long
as these stay, nothing is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from captioner.files import replace_file

_REMEMBERED = 8  # digests in one file, the latest last
_SETTLED = 2.0  # seconds; a file changed since may change again without its time telling


def content_digest(paths: Sequence[Path], *, memory: Path | None = None) -> str:
    """A checksum of the files' bytes in this order, in hexadecimal digits; a file that is gone counts as gone.

    Args:
        paths: The files.
        memory: A file that remembers digests of earlier calls; None reads everything.
    """
    stamp, changed = _stamp(paths)
    known = _remembered(memory)
    if stamp in known:
        return known[stamp]
    digest = hashlib.blake2b(digest_size=32)
    for path in tqdm(paths, desc="comparing files", unit="file", disable=None, leave=False):
        digest.update(_digest(path))
    found = digest.hexdigest()
    if memory is not None and time.time() - changed > _SETTLED:
        kept = dict(list({**known, stamp: found}.items())[-_REMEMBERED:])
        with contextlib.suppress(OSError):  # without it the next call reads again
            replace_file(
                memory, lambda temporary: Path(temporary).write_text(json.dumps(kept), encoding="utf-8")
            )
    return found


def _stamp(paths: Sequence[Path]) -> tuple[str, float]:
    """A checksum of names, sizes and times, and when the last of the files changed (seconds)."""
    digest = hashlib.blake2b(digest_size=32)
    changed = 0.0
    for path in paths:
        told: list[object] = [str(path.absolute())]
        with contextlib.suppress(OSError):
            state = path.stat()
            # The second time cannot be set back by whoever edits the file.
            told += [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
            changed = max(changed, state.st_mtime, state.st_ctime)
        digest.update(json.dumps(told).encode())
    return digest.hexdigest(), changed


def _remembered(memory: Path | None) -> dict[str, str]:
    if memory is None:
        return {}
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {str(stamp): found for stamp, found in kept.items() if isinstance(found, str)}


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()
    except OSError:
        return b"gone"
