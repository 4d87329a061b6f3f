"""To which split does a photo belong where no list says so? A hash decides, the same on every machine.

"hash" goes by the photo's name alone: quick, but two copies of a photo under two names may come apart. "content" goes
by the photo itself: near-identical photos are kept together, whatever they are called.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from captioner.data.integrity.faults import Faults
from captioner.data.integrity.fingerprints import Fingerprint, fingerprint
from captioner.data.integrity.near_duplicates import group_photos
from captioner.data.processes import cores, in_processes
from captioner.data.readers.photo_folder import check_photo_name
from captioner.data.readers.text_files import check_text, lines_of, read_text
from captioner.errors import UsageError

SplitBy = Literal["hash", "content"]
SPLITS = ("train", "val", "test")


def usual_name(split: str) -> str:
    """The name that this project gives a split: "dev", "valid" and "validation" are "val"."""
    return {"dev": "val", "valid": "val", "validation": "val"}.get(split, split)


def check_split(split: str, what: str, *, known: Sequence[str] = SPLITS) -> str:
    """The split's name; "dev" and "validation" are "val".

    Raises:
        UsageError: `what` has no such split.
    """
    split = usual_name(split)
    if split not in known:
        raise UsageError(f"{what} has no split {split!r}; choose one of {', '.join(known)}")
    return split


def check_split_by(split_by: str, known: Sequence[str] = get_args(SplitBy)) -> None:
    """Raise `UsageError` unless a split can be made by `split_by`."""
    if split_by not in known:
        raise UsageError(f"split_by={split_by!r} is not known; choose {', '.join(known[:-1])} or {known[-1]}")


def share(name: str) -> str:
    """The split of a photo, "train" (80 %), "val" or "test" (10 % each), by a hash of its name alone.

    It stays when photos are added.
    """
    tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def shares_by_content(prints: Sequence[Fingerprint]) -> list[str]:
    """The split of each photo by a hash of its file; of photos that are nearly the same, one for all.

    The smallest digest of a group decides. So a split stays when photos are added, but for a group that a new photo
    with a smaller digest joins, or that a new photo makes one of two.
    """
    digests = [print_.digest for print_ in prints]
    for group in group_photos(prints):
        smallest = min(digests[place] for place in group)
        for place in group:
            digests[place] = smallest
    return [share(digest.hex()) for digest in digests]


def members(names: Sequence[str], split: str, *, by: str, photos: Path) -> list[str]:
    """Those of `names` that belong to `split`, in order.

    Args:
        names: All photos of the dataset, relative to `photos`.
        split: "train", "val" or "test".
        by: "hash" or "content".
        photos: The folder of photos; "content" reads them all, once in a process.
    """
    if by == "hash":
        return [name for name in names if share(name) == split]
    shares = _shares(photos, tuple(names))
    return [name for name, own in zip(names, shares, strict=True) if own == split]


@functools.lru_cache(maxsize=4)
def _shares(photos: Path, names: tuple[str, ...]) -> list[str]:
    paths = [photos / name for name in names]
    prints = in_processes(fingerprint, paths, processes=cores())
    bar = tqdm(prints, total=len(paths), desc="comparing photos", unit="photo", disable=None, leave=False)
    return shares_by_content(list(bar))


def read_names(path: Path, faults: Faults, *, allow_outside: bool = False) -> list[str]:
    """The photos of an official list, one name a line, each once, in the order of the list.

    Raises:
        DataError: The list cannot be read, or names a photo outside the folder.
    """
    names: dict[str, None] = {}
    for number, line in lines_of(read_text(path, faults=faults)):
        where = f"{path}:{number}"
        with faults:
            names[check_photo_name(check_text(line, where).strip(), where, allow_outside=allow_outside)] = (
                None
            )
    return list(names)
