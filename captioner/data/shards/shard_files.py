"""Which shards are meant, and what samples does one hold? WebDataset's tar files: local, by pattern, or from a pipe.

A sample is a run of neighbouring members whose names agree up to the first point: `000012.jpg`, `000012.json`.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from captioner.data.shards.tar_stream import Member, read_members
from captioner.errors import DataError
from captioner.image.formats import PHOTO_SUFFIXES

PIPE = "pipe:"
"""A shard that begins so is what a shell command writes to its standard output."""

_PIECE = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One sample of a shard.

    Attributes:
        key: Its name within the shard, folders included, up to the first point.
        files: The members' contents by what follows that point, in lower case; None where it was not wanted.
        places: Where the contents are: offset and size in bytes.
        archive: Which of the tars written one behind the other holds it, from 0.
    """

    key: str
    files: Mapping[str, bytes | None]
    places: Mapping[str, tuple[int, int]]
    archive: int = 0

    @property
    def photo(self) -> str | None:
        """What follows the point in the photo's name, or None where there is no photo."""
        return next((suffix for suffix in self.files if f".{suffix}" in PHOTO_SUFFIXES), None)


def is_shard(entry: str) -> bool:
    """Whether an entry names shards: a pipe, or what ends in `.tar`."""
    return entry.startswith(PIPE) or entry.lower().endswith(".tar")


def find_shards(entries: str | Sequence[str], *, folder: Path = Path()) -> list[str]:
    """The shards that entries name, in the order named.

    Each is a path, a pattern (`train-{0000..0099}.tar`, `{a,b}.tar`, `*.tar`), sorted by name, or `pipe:COMMAND`, whose
    braces are expanded too.

    Args:
        entries: One or several.
        folder: What paths are relative to.

    Raises:
        DataError: A path or pattern names no file, or one is a URL.
    """
    found: list[str] = []
    for entry in [entries] if isinstance(entries, str) else entries:
        for one in expand_braces(entry):
            if one.startswith(PIPE):
                found.append(one)
                continue
            if "://" in one:
                raise DataError(f"{one} is no file; read it by 'pipe:curl -sfL {one}'")
            path = folder / os.path.expanduser(one)
            if path.is_file():
                found.append(str(path))
                continue
            matches = sorted(glob.glob(str(path), recursive=True)) if _PATTERN.search(one) else []
            if not matches:
                raise DataError(f"there is no shard {path}; check the folder and the pattern")
            found += matches
    if not found:
        raise DataError(
            "no shard is named; give a .tar file, a pattern such as train-{0000..0099}.tar, or pipe:COMMAND"
        )
    return found


def labels_of(shards: Sequence[str], *, folder: Path = Path()) -> list[str]:
    """What each shard is called in the ids of its samples; no two alike.

    That is its file's name without `.tar`, or where another has that too, its path from `folder`; a pipe's is the
    command.

    Raises:
        DataError: A shard is named twice.
    """
    twice = [shard for shard, times in Counter(shards).items() if times > 1]
    if twice:
        raise DataError(f"the shard {twice[0]} is named twice; its samples would count twice: name it once")
    names = [shard if shard.startswith(PIPE) else _bare(os.path.basename(shard)) for shard in shards]
    times = Counter(names)
    return [
        name if times[name] == 1 else _bare(os.path.relpath(shard, folder))
        for name, shard in zip(names, shards, strict=True)
    ]


def _bare(name: str) -> str:
    return name[:-4] if name.lower().endswith(".tar") else name


def expand_braces(text: str) -> list[str]:
    """All texts that `{1..3}`, `{001..100}` and `{a,b}` stand for; what is neither stays as it is."""
    for braces in _BRACES.finditer(text):
        span = _RANGE.fullmatch(braces[1])
        if span:
            first, last = int(span[1]), int(span[2])
            # As in a shell: leading zeros are kept, and the greater may come first.
            width = (
                max(map(len, span.groups())) if any(len(n) > 1 and n[0] == "0" for n in span.groups()) else 0
            )
            step = 1 if first <= last else -1
            choices = [f"{number:0{width}d}" for number in range(first, last + step, step)]
        elif "," in braces[1]:
            choices = braces[1].split(",")
        else:
            continue
        head = text[: braces.start()]
        rest = expand_braces(text[braces.end() :])
        return [head + choice + tail for choice, tail in itertools.product(choices, rest)]
    return [text]


def read_samples(shard: str, *, wanted: Callable[[str], bool] = lambda suffix: True) -> Iterator[ShardSample]:
    """The samples of a shard, in its order.

    Args:
        shard: A path or a pipe.
        wanted: Says of what follows the point in a member's name whether the content is to be read.

    Raises:
        DataError: The shard cannot be read, is damaged, or holds two members of one name: names shard and member.
    """
    with open_shard(shard) as stream:
        group: list[Member] = []
        try:
            for member in read_members(stream, shard, wanted=lambda name: wanted(split_name(name)[1])):
                if group and _owner(member) != _owner(group[0]):
                    yield _sample(shard, group)
                    group = []
                group.append(member)
        except DataError:
            if group:  # what came before the damage is whole
                yield _sample(shard, group)
            raise
        if group:
            yield _sample(shard, group)


def split_name(name: str) -> tuple[str, str]:
    """A member's key and, in lower case, what follows the first point of its last part."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    key, _, suffix = last.partition(".")
    return folder + slash + key, suffix.lower()


def _owner(member: Member) -> tuple[int, str]:
    return member.archive, split_name(member.name)[0]


def _sample(shard: str, members: Sequence[Member]) -> ShardSample:
    files: dict[str, bytes | None] = {}
    places: dict[str, tuple[int, int]] = {}
    for member in members:
        suffix = split_name(member.name)[1]
        if suffix in files:
            raise DataError(
                f"{shard} holds the member {member.name!r} twice; make it again with names of their own"
            )
        files[suffix] = member.content
        places[suffix] = (member.offset, member.size)
    archive, key = _owner(members[0])
    return ShardSample(key, files, places, archive)


@contextlib.contextmanager
def open_shard(shard: str) -> Iterator[IO[bytes]]:
    """A shard's bytes: a file, or what a command writes.

    Raises:
        DataError: It cannot be opened, or the command fails.
    """
    if not shard.startswith(PIPE):
        try:
            file = open(shard, "rb")  # noqa: SIM115  # errors of whoever reads are not ours
        except OSError as error:
            raise DataError(f"cannot read the shard {shard}: {error.strerror}") from error
        with file:
            yield file
        return
    process = subprocess.Popen(shard.removeprefix(PIPE), shell=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
        while process.stdout.read(_PIECE):  # what follows the tar's end, or the command would fail of it
            pass
    except DataError as error:
        # The command's own failure is the cause of what is missing.
        process.stdout.close()
        if status := process.wait():
            raise DataError(f"{shard} failed with status {status}; {error}") from error
        raise
    finally:
        process.stdout.close()
        process.wait()
    if process.returncode:
        raise DataError(f"{shard} failed with status {process.returncode}; try the command in a shell")
