"""WebDataset shards: file patterns and pipes, and the samples of a shard.

A sample is a run of adjacent members whose names agree up to the first dot: `000012.jpg`, `000012.json`.

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
"""Prefix of a shard that is the standard output of a shell command."""

_CHUNK = 1 << 20  # bytes
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One sample of a shard.

    Attributes:
        key: Its name within the shard, folders included, up to the first dot.
        files: The members' contents by suffix (what follows that dot), in lower case; None if not requested.
        positions: Offset and size of the contents in bytes, by suffix.
        archive: Index, among concatenated tars, of the one that contains it.
    """

    key: str
    files: Mapping[str, bytes | None]
    positions: Mapping[str, tuple[int, int]]
    archive: int = 0

    @property
    def photo(self) -> str | None:
        """The suffix of the photo, or None without photo."""
        return next((suffix for suffix in self.files if f".{suffix}" in PHOTO_SUFFIXES), None)


def is_shard(entry: str) -> bool:
    """Whether an entry names shards: a pipe, or a name that ends in `.tar`."""
    return entry.startswith(PIPE) or entry.lower().endswith(".tar")


def find_shards(entries: str | Sequence[str], *, folder: Path = Path()) -> list[str]:
    """The shards that entries name, in the given order.

    Each entry is a path, a pattern (`train-{0000..0099}.tar`, `{a,b}.tar`, `*.tar`), whose matches are sorted by name,
    or `pipe:COMMAND`, in which braces are expanded too.

    Args:
        entries: One or several.
        folder: The folder that paths are relative to.

    Raises:
        DataError: A path or pattern matches no file, or an entry is a URL.
    """
    shards: list[str] = []
    for entry in [entries] if isinstance(entries, str) else entries:
        for one in expand_braces(entry):
            if one.startswith(PIPE):
                shards.append(one)
                continue
            if "://" in one:
                raise DataError(f"{one} is a URL, not a file; read it by 'pipe:curl -sfL {one}'")
            path = folder / os.path.expanduser(one)
            if path.is_file():
                shards.append(str(path))
                continue
            matches = sorted(glob.glob(str(path), recursive=True)) if _PATTERN.search(one) else []
            if not matches:
                raise DataError(f"there is no shard {path}; check the folder and the pattern")
            shards += matches
    if not shards:
        raise DataError(
            "no shard is named; give a .tar file, a pattern such as train-{0000..0099}.tar, or pipe:COMMAND"
        )
    return shards


def shard_labels(shards: Sequence[str], *, folder: Path = Path()) -> list[str]:
    """A unique label of each shard, for the ids of its samples.

    The label is the file's name without `.tar`, or its path from `folder` where file names repeat; a pipe's is the
    command.

    Raises:
        DataError: A shard is named twice.
    """
    twice = [shard for shard, times in Counter(shards).items() if times > 1]
    if twice:
        raise DataError(f"the shard {twice[0]} is named twice; its samples would count twice: name it once")
    names = [
        shard if shard.startswith(PIPE) else _without_suffix(os.path.basename(shard)) for shard in shards
    ]
    times = Counter(names)
    return [
        name if times[name] == 1 else _without_suffix(os.path.relpath(shard, folder))
        for name, shard in zip(names, shards, strict=True)
    ]


def _without_suffix(name: str) -> str:
    return name[:-4] if name.lower().endswith(".tar") else name


def expand_braces(text: str) -> list[str]:
    """All expansions of `{1..3}`, `{001..100}` and `{a,b}`; other braces stay as they are."""
    for braces in _BRACES.finditer(text):
        span = _RANGE.fullmatch(braces[1])
        if span:
            first, last = int(span[1]), int(span[2])
            # As in a shell: leading zeros are kept, and a range may descend.
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
        wanted: Whether the content of members with this suffix is read.

    Raises:
        DataError: The shard cannot be read, is damaged, or contains a name twice; names shard and member.
    """
    with open_shard(shard) as stream:
        group: list[Member] = []
        try:
            for member in read_members(stream, shard, wanted=lambda name: wanted(split_name(name)[1])):
                if group and _sample_key(member) != _sample_key(group[0]):
                    yield _sample(shard, group)
                    group = []
                group.append(member)
        except DataError:
            if group:  # the sample before the damage is complete
                yield _sample(shard, group)
            raise
        if group:
            yield _sample(shard, group)


def split_name(name: str) -> tuple[str, str]:
    """A member's key and suffix: its name up to and, in lower case, after the first dot of the last path component."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    key, _, suffix = last.partition(".")
    return folder + slash + key, suffix.lower()


def _sample_key(member: Member) -> tuple[int, str]:
    return member.archive, split_name(member.name)[0]


def _sample(shard: str, members: Sequence[Member]) -> ShardSample:
    files: dict[str, bytes | None] = {}
    positions: dict[str, tuple[int, int]] = {}
    for member in members:
        suffix = split_name(member.name)[1]
        if suffix in files:
            raise DataError(
                f"{shard} contains the member {member.name!r} twice; create it again with unique names"
            )
        files[suffix] = member.content
        positions[suffix] = (member.offset, member.size)
    archive, key = _sample_key(members[0])
    return ShardSample(key, files, positions, archive)


@contextlib.contextmanager
def open_shard(shard: str) -> Iterator[IO[bytes]]:
    """A shard's bytes: a file, or the output of a command.

    Raises:
        DataError: It cannot be opened, or the command fails.
    """
    if not shard.startswith(PIPE):
        try:
            file = open(shard, "rb")  # noqa: SIM115  # errors inside the context are the caller's
        except OSError as error:
            raise DataError(f"cannot read the shard {shard}: {error.strerror}") from error
        with file:
            yield file
        return
    # The user wrote the command, as WebDataset's `pipe:` has it: a pipeline of the shell.
    process = subprocess.Popen(shard.removeprefix(PIPE), shell=True, stdout=subprocess.PIPE)  # noqa: S602
    assert process.stdout is not None
    try:
        yield process.stdout
        while process.stdout.read(
            _CHUNK
        ):  # data after the end of the tar; unread, it would make the command fail
            pass
    except DataError as error:
        # If the command failed, that is the cause of the missing data.
        process.stdout.close()
        if status := process.wait():
            raise DataError(f"{shard} failed with status {status}; {error}") from error
        raise
    finally:
        process.stdout.close()
        process.wait()
    if process.returncode:
        raise DataError(f"{shard} failed with status {process.returncode}; try the command in a shell")
