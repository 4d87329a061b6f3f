"""What must writers of files take care of? Folders that cannot be written, crashes, names that are no text."""

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
    """Let `write(temporary_path)` write a file beside `path`, force it to disk, then rename it over `path`.

    Raises:
        OSError: The disk refuses; the old file is intact. So it is after whatever `write` raises.
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
    """Whether nobody else holds the file; then it is this process's until it is closed or the process ends.

    Where the system or the disk has no locks, everybody holds it.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        # Not flock: that one would live on in a reading process of ours after we were killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def output_folder(path: Path | str) -> Path:
    """Make the folder named by `output_dir`, and try that files can be written there, before any work is done.

    Raises:
        UsageError: They cannot.
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
    """JSON that UTF-8 can hold: as written, but escaped where a file's name has bytes that are no text.

    Raises:
        ValueError: There is a nan or an infinity, which JSON has not.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text
