"""Can a folder be written, and how is a file replaced so that a crash leaves either the old one or the new one?"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

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
