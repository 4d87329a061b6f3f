"""Writing of files: atomic replacement, locks, output folders, and JSON of file names that are not text."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from captioner.errors import UsageError


def replace_file(path: Path, write: Callable[[str], object]) -> None:
    """Replace a file atomically: `write(temporary_path)` writes beside `path`, then the file is synced and renamed.

    Raises:
        OSError: If it cannot be written. The old file is intact then, as after any exception of `write`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def lock_file(file: IO[Any]) -> bool:
    """Lock a file until it is closed or the process ends; False if another process has locked it.

    True without a lock where the system or the disk has no locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        # Not flock, which would outlive this process in a forked reader.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def output_folder(path: Path | str) -> Path:
    """Make the folder of `output_dir` and test that files can be written to it, before any work is done.

    Raises:
        UsageError: If they cannot.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(dir=folder, prefix=".writable.")
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise UsageError(
            f"output_dir={folder} cannot be written: {error.strerror}; choose another"
        ) from error
    return folder


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that is valid UTF-8: non-ASCII text as it is, or escaped if a file name has bytes that are not text.

    Raises:
        ValueError: If there is a nan or an infinity, which JSON lacks.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text
