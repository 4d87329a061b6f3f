"""Data set of WebDataset tar shards, `Shards`, without an index of all samples in memory.

It stores the shards' names and numbers of samples. Training streams the shards (see `shard_stream`); random access, as
in validation, caches the captions of the few shards used last.
"""

from __future__ import annotations

import bisect
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.readers.photo_folder import check_inside
from captioner.data.samples import CaptionSample
from captioner.data.shards.shard_files import PIPE, ShardSample, find_shards, read_samples, shard_labels
from captioner.errors import DataError, ImageError, UsageError
from captioner.image.decode import Photo
from captioner.image.photo_reader import NamedPhoto, decode_named

INDEX = "index.json"
"""The file beside the shards with the number of samples of each, in the format of webdataset's `wids`."""

ID_REMEDY = "give every sample a unique id in its JSON, or none to use shard and key"

_MAX_CACHED = 4  # shards whose captions are cached for random access
_CAPTIONS = ("json", "txt")


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One sample of a shard.

    Attributes:
        name: Shard and member, for messages.
        id: From its JSON, or else its shard and key: keys often repeat in every shard.
        captions: As written.
        photo: The photo's encoded file, or None if it was not read or does not exist.
        position: Offset and size of the photo in the shard, in bytes; None without photo.
        fault: Its error message, or None.
        blank: The number of captions left out because they contain only white space.
    """

    name: str
    id: str
    captions: tuple[str, ...]
    photo: bytes | None
    position: tuple[int, int] | None
    fault: str | None
    blank: int = 0


@dataclass(frozen=True, slots=True)
class _CaptionCounts:
    """The numbers of a shard's captions, of its blank captions, and of its samples without caption."""

    captions: int
    blank: int
    uncaptioned: int


class Shards:
    """Samples of WebDataset shards: a photo beside `.json` with `captions` or `caption`, or `.txt` with a caption.

    Args:
        shards: Paths, patterns with braces or `*`, or `pipe:COMMAND`; one or several.
        root: The folder that paths are relative to.
        on_bad: "stop" at a damaged shard or sample, or "skip" what cannot be read.
        allow_outside: Whether shards outside `root` may be read. Pipes are not restricted.

    Attributes:
        names: The shards.
        stores: The shards that are files.
        starts: Index of each shard's first sample, and finally the number of all samples.
        on_bad: As given.
        report: The counts known so far: captions are read only on request.

    Raises:
        DataError: A shard is missing, outside `root`, or damaged with `on_bad` "stop"; or there is no sample.
        UsageError: `on_bad` is neither.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        *,
        root: Path | str = ".",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        self._faults = Faults(on_bad)
        self.on_bad: OnBad = on_bad
        folder = Path(root).expanduser()
        self.names = find_shards(shards, folder=folder)
        self.stores = tuple(Path(name) for name in self.names if not name.startswith(PIPE))
        if not allow_outside:
            for path in (*self.stores, *{store.parent / INDEX for store in self.stores}):
                check_inside(path, "a shard", folder)
        self._labels = shard_labels(self.names, folder=folder)
        counts = [self._count(name) for name in self.names]
        self.starts = [0, *itertools.accumulate(counts)]
        if not len(self):
            raise DataError(
                f"the {len(self.names)} shards from {self.names[0]} on contain no sample; create them again"
            )
        self._cache: OrderedDict[int, list[StoredSample]] = OrderedDict()
        self._counts: dict[int, _CaptionCounts] = {}

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> CaptionSample:
        sample = self._sample(index)
        return CaptionSample(sample.id, sample.captions, None)

    @property
    def report(self) -> ReadingReport:
        """The faults found while counting, and the captions of the shards that were read so far."""
        counts = self._counts.values()
        return ReadingReport(
            images=len(self),
            captions=sum(each.captions for each in counts) if len(counts) == len(self.names) else None,
            missing_images=0,
            dropped_captions=0,
            empty_captions=sum(each.blank for each in counts),
            uncaptioned_images=sum(each.uncaptioned for each in counts),
            faults=self._faults.count,
            messages=tuple(self._faults.messages),
        )

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`.

        Raises:
            ImageError: Names shard and member.
            UsageError: The shard is a pipe, which has no random access.
        """
        sample = self._sample(index)
        shard = self.names[self.shard_of(index)]
        if shard.startswith(PIPE):
            raise UsageError(
                f"{shard} can only be read sequentially; name files for validation and evaluation"
            )
        if sample.fault is not None or sample.position is None:
            raise ImageError(sample.fault or f"{sample.name} has no photo")
        with open(shard, "rb") as file:
            content = os.pread(file.fileno(), sample.position[1], sample.position[0])
        return decode_named(NamedPhoto(sample.name, content), min_size)

    def shard_of(self, index: int) -> int:
        """The number of the shard that contains a sample. Raises IndexError outside `[0, len)`."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} images")
        return bisect.bisect_right(self.starts, index) - 1

    def read(self, shard: int, *, photos: bool = True) -> Iterator[StoredSample]:
        """The samples of a shard, as many as were counted; with `on_bad="skip"` damaged ones have a fault.

        Raises:
            DataError: The shard is damaged, or contains another number of samples than was counted.
        """
        name = self.names[shard]
        count = self.starts[shard + 1] - self.starts[shard]
        done, seen = 0, set[str]()
        fault = f"{name} contains {{}} samples, and {count} were counted; create its index again"
        try:
            for sample in read_samples(name, wanted=lambda suffix: photos or suffix in _CAPTIONS):
                if done < count:
                    yield self._stored_sample(shard, sample, seen)
                done += 1
            if done != count:
                raise DataError(fault.format(done))
        except DataError as error:
            if self.on_bad == "stop":
                raise
            for _ in range(done, count):
                yield StoredSample(name, name, (), None, None, str(error))

    def _sample(self, index: int) -> StoredSample:
        shard = self.shard_of(index)
        if shard not in self._cache:
            while len(self._cache) >= _MAX_CACHED:
                self._cache.popitem(last=False)
            samples = self._cache[shard] = list(self.read(shard, photos=False))
            self._counts[shard] = _CaptionCounts(
                captions=sum(len(sample.captions) for sample in samples),
                blank=sum(sample.blank for sample in samples),
                uncaptioned=sum(not sample.captions and sample.fault is None for sample in samples),
            )
        self._cache.move_to_end(shard)
        return self._cache[shard][index - self.starts[shard]]

    def _stored_sample(self, shard: int, sample: ShardSample, seen: set[str]) -> StoredSample:
        suffix = sample.photo
        where = f"{self.names[shard]}::{sample.key}"
        name = where + (f".{suffix}" if suffix else "")
        fault = None if suffix else f"{name} has no photo: it has {', '.join(sample.files)}"
        own: str | None = None
        texts: tuple[str, ...] = ()
        try:
            own, texts = _captions(where, sample)
        except DataError as error:
            if self.on_bad == "stop":
                raise
            fault = str(error)
        # The tars of one pipe are distinguished too.
        label = self._labels[shard] + (f"+{sample.archive}" if sample.archive else "")
        identity = f"{label}/{sample.key}" if own is None else own
        if identity in seen:
            fault, texts = f"{where} has the id {identity} of an earlier sample of its shard; {ID_REMEDY}", ()
            if self.on_bad == "stop":
                raise DataError(fault)
        seen.add(identity)
        photo = sample.files[suffix] if suffix else None
        captions = tuple(text for text in texts if text.strip())
        position = sample.positions.get(suffix or "")
        return StoredSample(name, identity, captions, photo, position, fault, len(texts) - len(captions))

    def _count(self, shard: str) -> int:
        counted = _from_index(shard)
        if counted is not None:
            return counted
        count = 0
        with self._faults:
            try:
                for _ in read_samples(shard, wanted=lambda suffix: False):
                    count += 1
            except DataError as error:
                if self.on_bad == "stop":
                    raise
                raise DataError(f"{error}; its first {count:,} samples are read") from error
        return count


def _captions(where: str, sample: ShardSample) -> tuple[str | None, tuple[str, ...]]:
    """The id that a sample's JSON gives, if any, and its captions as written.

    Raises:
        DataError: Its JSON or text is malformed.
    """
    content = sample.files.get("json")
    if content is not None:
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}.json is not JSON: {error}; create the shard again") from error
        found = record.get("captions", record.get("caption")) if isinstance(record, dict) else None
        texts = [found] if isinstance(found, str) else found
        if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            own = record.get("id")
            return None if own is None else str(own), tuple(texts)
        if "txt" not in sample.files:
            raise DataError(
                f"{where}.json has no captions: a list of texts called captions, or a text called caption"
            )
    text = sample.files.get("txt")
    if text is None:
        raise DataError(f"{where} has no captions: no .json and no .txt")
    try:
        decoded = text.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}.txt is not UTF-8: {error}; create the shard again") from error
    return None, (decoded,)


_indexes: dict[Path, dict[str, dict[str, Any]]] = {}


def _from_index(shard: str) -> int | None:
    """The number of samples of a shard by the index beside it; None without index, or if the shard has changed."""
    path = Path(shard)
    if shard.startswith(PIPE) or not (path.parent / INDEX).is_file():
        return None
    entries = _indexes.get(path.parent)
    if entries is None or path.name not in entries:
        try:
            listed = json.loads((path.parent / INDEX).read_text(encoding="utf-8"))["shardlist"]
            entries = _indexes[path.parent] = {entry["url"]: entry for entry in listed}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path.parent / INDEX} is damaged ({error}); delete it to count the shards"
            ) from error
    entry = entries.get(path.name)
    if entry is None or entry.get("filesize") != path.stat().st_size:
        return None
    return int(entry["nsamples"])
