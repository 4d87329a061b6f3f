"""How is a file replaced so that a crash leaves either the old one or the new one?"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


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
