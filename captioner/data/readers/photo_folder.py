"""Which files does a dataset's folder really hold, and may an annotation name them?"""

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
        what: Tells what should be in it.
        home: As of `check_inside`.

    Raises:
        DataError: There is none, or it lies outside `home`.
    """
    found = Path(path).expanduser()
    if not found.is_dir():
        problem = "is not a folder" if found.exists() else "does not exist"
        raise DataError(f"{what}: {found} {problem}; name the folder that you have")
    return check_inside(found, what, home)


def first_existing(candidates: Sequence[Path], *, what: str, remedy: str, home: Path | None = None) -> Path:
    """The first candidate that exists.

    Raises:
        DataError: None does: says `what` was looked for, where, and the `remedy`. Or it lies outside `home`, as of
            `check_inside`.
    """
    for candidate in candidates:
        if candidate.exists():
            return check_inside(candidate, what, home)
    looked_for = ", ".join(dict.fromkeys(map(str, candidates)))
    raise DataError(f"{what} not found; looked for {looked_for}; {remedy}")


def check_inside(path: Path, what: str, home: Path | None) -> Path:
    """The path, if what it leads to, links followed, lies in the folder `home`; None allows every place.

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
    """The name, if it stays inside the photo folder on every system; `./a.jpg` as `a.jpg`.

    Args:
        name: A relative file name, with `/` for sub-folders.
        where: File and line, or field, for the message.
        allow_outside: Take absolute names and `..` too.

    Raises:
        DataError: The name is empty, absolute, climbs with `..`, or cannot be a file name.
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
    """Which of the photos that were asked for a folder holds.

    Attributes:
        there: Those that it holds.
        outside: Those that are links out of it, with what to tell; they are not among `there`.
    """

    there: frozenset[str]
    outside: dict[str, str]


def list_photos(
    photos: Path, names: Iterable[str], *, root: Path | None = None, allow_outside: bool = False
) -> Listing:
    """Those of `names` that the folder `photos` holds, and those that only seem to lie in it.

    Each sub-folder is listed once, which is much faster than asking for each photo on a network disk.

    Args:
        photos: The folder.
        names: Photos, relative to it.
        root: Links may also lead here.
        allow_outside: Links may lead anywhere.
    """
    homes = [os.path.realpath(home) for home in (photos, root) if home is not None]
    by_folder: defaultdict[Path, list[str]] = defaultdict(list)
    for name in names:
        by_folder[(photos / name).parent].append(name)
    there: list[str] = []
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
                there.append(name)
    return Listing(frozenset(there), outside)


def _within(path: str, homes: Sequence[str]) -> bool:
    return any(path == home or path.startswith(os.path.join(home, "")) for home in homes)
