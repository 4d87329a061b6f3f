"""Digest of the bytes of a data set's files, cached by the files' sizes and times.

Editing a file to another of the same size changes the digest; copying the files to another disk does not. Reading takes
some seconds per gigabyte, so the digest is stored with the files' sizes and times: while these stay the same, nothing
is read again.
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

_MAX_STORED = 8  # digests in one cache file, the latest last
_MIN_AGE = 2.0  # seconds; a younger file may change again within the resolution of its time


def content_digest(paths: Sequence[Path], *, cache: Path | None = None) -> str:
    """A checksum of the files' bytes in this order, in hexadecimal digits; a missing file is part of it as missing.

    Args:
        paths: The files.
        cache: A file with the digests of earlier calls; None reads everything.
    """
    stamp, changed = _stamp(paths)
    known = _read_cache(cache)
    if stamp in known:
        return known[stamp]
    digest = hashlib.blake2b(digest_size=32)
    for path in tqdm(paths, desc="comparing files", unit="file", disable=None, leave=False):
        digest.update(_digest(path))
    total = digest.hexdigest()
    if cache is not None and time.time() - changed > _MIN_AGE:
        kept = dict(list({**known, stamp: total}.items())[-_MAX_STORED:])
        with contextlib.suppress(OSError):  # the next call reads the files again
            replace_file(
                cache, lambda temporary: Path(temporary).write_text(json.dumps(kept), encoding="utf-8")
            )
    return total


def _stamp(paths: Sequence[Path]) -> tuple[str, float]:
    """A checksum of names, sizes and times, and the time of the last change (seconds)."""
    digest = hashlib.blake2b(digest_size=32)
    changed = 0.0
    for path in paths:
        facts: list[object] = [str(path.absolute())]
        with contextlib.suppress(OSError):
            state = path.stat()
            # Unlike the modification time, the change time cannot be set back.
            facts += [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
            changed = max(changed, state.st_mtime, state.st_ctime)
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest(), changed


def _read_cache(cache: Path | None) -> dict[str, str]:
    if cache is None:
        return {}
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {str(stamp): digest for stamp, digest in kept.items() if isinstance(digest, str)}


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()
    except OSError:
        return b"gone"
