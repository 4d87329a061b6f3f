"""Division of photos into parts and of parts among processes.

A list of photos is cut into parts of a fixed size; a shard is a part. Parts do not depend on the number of processes:
process i of n takes the parts whose number is i modulo n, so that a run may continue with more processes or fewer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.data.shards.shard_files import is_shard, read_samples
from captioner.errors import DataError, ImageError, UsageError
from captioner.image.formats import PHOTO_SUFFIXES
from captioner.image.photo_reader import GivenPhoto, NamedPhoto
from captioner.prefetch import in_batches

_SHARE = re.compile(r"(\d+)/(\d+)")
_SHARD_STRIDE = 2**32  # the number of a photo is its place in its shard plus the shard's number times this


@dataclass(frozen=True, slots=True)
class Share:
    """This process among those of a run: `index` from 0, of `count`."""

    index: int = 0
    count: int = 1

    def has(self, number: int) -> bool:
        """Whether the part of this number is this process's."""
        return number % self.count == self.index


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A photo of a part: its number in the whole run, its name, and the photo or why there is none."""

    number: int
    name: str
    given: GivenPhoto


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Photos whose captions make one file.

    Attributes:
        number: From 0.
        items: Read once, as they are needed.
    """

    number: int
    items: Iterable[Item]


def share_of(text: str | None, environment: Mapping[str, str]) -> Share:
    """The share that `shard=i/n` names; without it torchrun's rank, or everything.

    Raises:
        UsageError: It is not i/n with i below n.
    """
    if text is None:
        return Share(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))
    match = _SHARE.fullmatch(text)
    if not match or not int(match[1]) < int(match[2]):
        raise UsageError(
            f"shard={text} must be i/n, process i of n, counted from 0: shard=0/4 to shard=3/4; for a SLURM array "
            "'shard=${oc.env:SLURM_ARRAY_TASK_ID}/4'"
        )
    return Share(int(match[1]), int(match[2]))


def parts_of_shards(shards: Sequence[str]) -> Iterator[Part]:
    """A part for each shard."""
    for number, shard in enumerate(shards):
        yield Part(number, _items_of_shard(shard, number * _SHARD_STRIDE))


def parts_of_photos(paths: Iterable[Path], size: int) -> Iterator[Part]:
    """A part for every `size` photos of a list."""
    for number, chunk in enumerate(in_batches(paths, size)):
        first = number * size
        yield Part(number, [Item(first + k, str(path), path) for k, path in enumerate(chunk)])


def names_shards(entries: Sequence[str]) -> bool:
    """Whether all entries are shards.

    Raises:
        UsageError: Some are shards, others are not.
    """
    kinds = {is_shard(os.fspath(entry)) for entry in entries}
    if len(kinds) > 1:
        raise UsageError("images= names shards and photos; caption them in two runs")
    return kinds == {True}


def _items_of_shard(shard: str, first: int) -> Iterator[Item]:
    """The photos of a shard; if it is damaged, the last item is the error."""
    samples = read_samples(shard, wanted=lambda suffix: f".{suffix}" in PHOTO_SUFFIXES)
    place = 0
    try:
        for place, sample in enumerate(samples):
            name = f"{shard}::{sample.key}"
            given: GivenPhoto = ImageError(f"{name} has no photo: {', '.join(sample.files)}")
            if sample.photo is not None:
                content = sample.files[sample.photo]
                assert content is not None
                name = f"{name}.{sample.photo}"
                given = NamedPhoto(name, content)
            yield Item(first + place, name, given)
    except DataError as error:
        yield Item(first + place + 1, shard, ImageError(str(error)))
