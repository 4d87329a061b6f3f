"""Folders of photos: which files exist, and which names an annotation may use."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from captioner.errors import DataError

_ALLOW = "or allow it by data.allow_outside=true"


def existing_folder(path: Path | str, what: str, *, home: Path | None = None) -> Path:
    """The folder at `path`, `~` expanded.

    Args:
        path: The folder.
        what: Its contents, for the message.
        home: As in `check_inside`.

    Raises:
        DataError: It does not exist, or lies outside `home`.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{what}: {folder} {problem}; give an existing folder")
    return check_inside(folder, what, home)


def first_existing(candidates: Sequence[Path], *, what: str, remedy: str, home: Path | None = None) -> Path:
    """The first candidate that exists.

    Raises:
        DataError: None exists; the message names `what`, the candidates and the `remedy`. Or it lies outside `home`,
            as in `check_inside`.
    """
    for candidate in candidates:
        if candidate.exists():
            return check_inside(candidate, what, home)
    looked_for = ", ".join(dict.fromkeys(map(str, candidates)))
    raise DataError(f"{what} not found; looked for {looked_for}; {remedy}")


def check_inside(path: Path, what: str, home: Path | None) -> Path:
    """The path, if its target, links followed, lies in the folder `home`; None allows every target.

    Raises:
        DataError: It lies outside.
    """
    if home is not None:
        target = os.path.realpath(path)
        if not _within(target, [os.path.realpath(home)]):
            leads = "" if target == os.path.abspath(path) else f", which leads to {target},"
            raise DataError(f"{what}: {path}{leads} lies outside data.root={home}; move it there, {_ALLOW}")
    return path


def check_photo_name(name: str, where: str, *, allow_outside: bool = False) -> str:
    """The name, if it stays inside the photo folder on every operating system; `./a.jpg` as `a.jpg`.

    Args:
        name: A relative file name, with `/` for sub-folders.
        where: File and line, or field, for the message.
        allow_outside: Whether absolute names and `..` are allowed.

    Raises:
        DataError: The name is empty, absolute, contains `..`, or cannot be a file name.
    """
    windows = PureWindowsPath(name)
    leaves = windows.drive or windows.root or PurePosixPath(name).is_absolute() or ".." in windows.parts
    if leaves and not allow_outside:
        raise DataError(
            f"{where}: photo {name!r} lies outside the photo folder; name a path inside it, {_ALLOW}"
        )
    if not windows.parts or "\0" in name or name != name.encode(errors="replace").decode():
        raise DataError(f"{where}: {name!r} cannot be the file name of a photo; correct it")
    return PurePosixPath(name).as_posix()


@dataclass(frozen=True, slots=True)
class Listing:
    """The requested photos that a folder contains.

    Attributes:
        present: Photos in the folder.
        outside: Error messages by name, for photos that are links out of the folder; they are not in `present`.
    """

    present: frozenset[str]
    outside: dict[str, str]


def list_photos(
    photos: Path, names: Iterable[str], *, root: Path | None = None, allow_outside: bool = False
) -> Listing:
    """Those of `names` that the folder `photos` contains, and those that are links out of it.

    Each sub-folder is listed once, which is much faster on a network disk than a query for each photo.

    Args:
        photos: The folder.
        names: Photos, relative to it.
        root: A folder that links may also lead to.
        allow_outside: Whether links may lead anywhere.
    """
    homes = [os.path.realpath(home) for home in (photos, root) if home is not None]
    by_folder: defaultdict[Path, list[str]] = defaultdict(list)
    for name in names:
        by_folder[(photos / name).parent].append(name)
    present: list[str] = []
    outside: dict[str, str] = {}
    for parent, wanted in by_folder.items():
        if not parent.is_dir():
            continue
        links: dict[str, bool] = {}
        with os.scandir(parent) as entries:
            for entry in entries:
                links[entry.name] = entry.is_symlink()
        parent_leaves = not (allow_outside or _within(os.path.realpath(parent), homes))
        for name in wanted:
            file = PurePosixPath(name).name
            if file not in links:
                continue
            leaves = parent_leaves or (links[file] and not allow_outside)
            target = os.path.realpath(photos / name) if leaves else ""
            if leaves and not _within(target, homes):
                outside[name] = f"{photos / name} is a link to {target}, outside data.root; copy it, {_ALLOW}"
            else:
                present.append(name)
    return Listing(frozenset(present), outside)


def _within(path: str, homes: Sequence[str]) -> bool:
    return any(path == home or path.startswith(os.path.join(home, "")) for home in homes)
