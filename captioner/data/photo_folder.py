"""Which files does a dataset's folder really hold, and may an annotation name them?"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from captioner.errors import DataError


def existing_folder(path: Path | str, what: str) -> Path:
    """The folder at `path`, `~` expanded.

    Raises:
        DataError: There is none; `what` tells what should be in it.
    """
    found = Path(path).expanduser()
    if not found.is_dir():
        problem = "is not a folder" if found.exists() else "does not exist"
        raise DataError(f"{what}: {found} {problem}; name the folder that you have")
    return found


def first_existing(candidates: Sequence[Path], *, what: str, remedy: str) -> Path:
    """The first candidate that exists.

    Raises:
        DataError: None does; says `what` was looked for, where, and the `remedy`.
    """
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked_for = ", ".join(dict.fromkeys(map(str, candidates)))
    raise DataError(f"{what} not found; looked for {looked_for}; {remedy}")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without byte order mark. Line ends stay as they are.

    Raises:
        DataError: The file cannot be read, or is not UTF-8: names the offset of the first bad byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + len(data) - len(error.object)  # the mark was cut off before counting
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[offset]:02x} at offset {offset}; save the file as UTF-8"
        ) from error


def check_photo_name(name: str, where: str) -> str:
    """The name, if it stays inside the photo folder on every system.

    Args:
        name: A relative file name, with `/` for sub-folders.
        where: File and line, or field, for the message.

    Raises:
        DataError: The name is empty, absolute, climbs with `..`, or cannot be a file name.
    """
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or PurePosixPath(name).is_absolute() or ".." in windows.parts:
        raise DataError(f"{where}: photo {name!r} lies outside the photo folder; name a path inside it")
    if not windows.parts or "\0" in name or name != name.encode(errors="replace").decode():
        raise DataError(f"{where}: {name!r} cannot be the file name of a photo; correct it")
    return name


def present(photos: Path, names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that the folder `photos` holds.

    Each sub-folder is listed once, which is much faster than asking for each photo on a network disk.
    """
    by_folder: defaultdict[Path, list[str]] = defaultdict(list)
    for name in names:
        by_folder[(photos / name).parent].append(name)
    found: list[str] = []
    for parent, wanted in by_folder.items():
        listed = set(os.listdir(parent)) if parent.is_dir() else set()
        found += [name for name in wanted if PurePosixPath(name).name in listed]
    return frozenset(found)
