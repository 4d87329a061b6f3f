"""Splits of data sets without official lists, by hash; the same on every machine.

"hash" takes the photo's name alone: fast, but two copies of a photo under two names may be separated. "content" takes
the photo itself: near-identical photos stay together, whatever their names.
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
from captioner.errors import UsageError, did_you_mean

SplitBy = Literal["hash", "content"]
SPLITS = ("train", "val", "test")


def canonical_split(split: str) -> str:
    """The canonical name of a split: "dev", "valid" and "validation" are "val"."""
    return {"dev": "val", "valid": "val", "validation": "val"}.get(split, split)


def check_split(split: str, what: str, *, known: Sequence[str] = SPLITS) -> str:
    """The split's name; "dev" and "validation" are "val".

    Raises:
        UsageError: `what` has no such split; names the nearest one.
    """
    split = canonical_split(split)
    if split not in known:
        raise UsageError(
            f"{what} has no split {split!r}; choose one of {', '.join(known)}{did_you_mean(split, known)}"
        )
    return split


def check_split_by(split_by: str, known: Sequence[str] = get_args(SplitBy)) -> None:
    """Raise `UsageError` unless `split_by` is among the known ones."""
    if split_by not in known:
        raise UsageError(
            f"split_by={split_by!r} is not known; choose {', '.join(known[:-1])} or {known[-1]}"
            f"{did_you_mean(split_by, known)}"
        )


def split_by_hash(name: str) -> str:
    """The split of a photo, "train" (80 %), "val" or "test" (10 % each), by a hash of its name alone.

    It does not change when photos are added.
    """
    tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def splits_by_content(fingerprints: Sequence[Fingerprint]) -> list[str]:
    """The split of each photo by a hash of its file; near-identical photos get the same split.

    The smallest digest of a group determines its split. When photos are added, splits therefore change only for
    groups that a new photo with a smaller digest joins, or that a new photo merges.
    """
    digests = [each.digest for each in fingerprints]
    for group in group_photos(fingerprints):
        smallest = min(digests[index] for index in group)
        for index in group:
            digests[index] = smallest
    return [split_by_hash(digest.hex()) for digest in digests]


def split_members(names: Sequence[str], split: str, *, by: str, photos: Path) -> list[str]:
    """Those of `names` that belong to `split`, in order.

    Args:
        names: All photos of the dataset, relative to `photos`.
        split: "train", "val" or "test".
        by: "hash" or "content".
        photos: The folder of photos; "content" reads all of them, once per process.
    """
    if by == "hash":
        return [name for name in names if split_by_hash(name) == split]
    splits = _content_splits(photos, tuple(names))
    return [name for name, own in zip(names, splits, strict=True) if own == split]


@functools.lru_cache(maxsize=4)
def _content_splits(photos: Path, names: tuple[str, ...]) -> list[str]:
    paths = [photos / name for name in names]
    fingerprints = in_processes(fingerprint, paths, processes=cores())
    bar = tqdm(
        fingerprints, total=len(paths), desc="comparing photos", unit="photo", disable=None, leave=False
    )
    return splits_by_content(list(bar))


def read_names(path: Path, faults: Faults, *, allow_outside: bool = False) -> list[str]:
    """The photos of an official list, one name a line, each once, in the order of the list.

    Raises:
        DataError: The list cannot be read, or names a photo outside the folder; unless `faults` skips the line.
    """
    names: dict[str, None] = {}
    for number, line in lines_of(read_text(path, faults=faults)):
        where = f"{path}:{number}"
        with faults:
            names[check_photo_name(check_text(line, where).strip(), where, allow_outside=allow_outside)] = (
                None
            )
    return list(names)
