"""Writer of tar shards: the same bytes on every machine, each shard complete or absent.

The error messages of samples left out are stored beside the shard, so that a resumed run can report them.

A sample is `000000012.jpg`, the unchanged file of the photo, and `000000012.json` with its id and captions; photos
without file are stored as PNG. Keys are numbers within the split.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from captioner.data.samples import CaptionDataset
from captioner.data.shards.shard_dataset import INDEX
from captioner.data.shards.shard_files import read_samples
from captioner.errors import DataError, ImageError
from captioner.files import json_text, replace_file
from captioner.image.decode import read_photo
from captioner.image.formats import sniff

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A shard, and the samples left out of it.

    Attributes:
        name: The file's name.
        samples: The number of samples.
        size: The file's size in bytes.
        md5: The file's checksum.
        faults: The error message of each sample left out.
    """

    name: str
    samples: int
    size: int
    md5: str
    faults: tuple[str, ...]


def shard_name(split: str, number: int) -> str:
    """The file name of a shard."""
    return f"{split}-{number:06d}.tar"


def write_shard(
    dataset: CaptionDataset,
    folder: Path,
    split: str,
    number: int,
    *,
    per_shard: int,
    check: bool,
    on_bad: str,
) -> WrittenShard:
    """Write one shard, unless it exists.

    Args:
        dataset: The split.
        folder: The folder of the shard.
        split: First part of its name.
        number: The shard's number within the split.
        per_shard: Samples of each shard but the last.
        check: Decode every photo, so that no damaged one is stored.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.

    Raises:
        ImageError: A photo cannot be read, and `on_bad` is "stop".
        OSError: Writing fails.
    """
    path = folder / shard_name(split, number)
    faults: list[str] = []
    if not path.exists():
        own = range(number * per_shard, min((number + 1) * per_shard, len(dataset)))

        def write(temporary: str) -> None:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for index in own:
                    try:
                        photo, suffix = _photo(dataset, index, check=check)
                    except ImageError as error:
                        if on_bad == "stop":
                            raise
                        faults.append(str(error))
                        continue
                    sample = dataset[index]
                    record = {"id": sample.id, "captions": list(sample.captions)}
                    _add(tar, f"{index:09d}.{suffix}", photo)
                    _add(tar, f"{index:09d}.json", json_text(record).encode())
            _save_faults(path, faults)  # before the shard appears: an existing shard has its faults

        replace_file(path, write)
    else:
        faults = _load_faults(path)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    samples = sum(1 for _ in read_samples(str(path), wanted=lambda suffix: False))
    return WrittenShard(path.name, samples, path.stat().st_size, md5, tuple(faults))


def write_index(folder: Path, shards: list[WrittenShard]) -> None:
    """Write the index of the shards in the format of webdataset's `wids`; entries of other splits stay."""
    path = folder / INDEX
    entries: dict[str, dict[str, Any]] = {}
    if path.exists():
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))["shardlist"]
            entries = {entry["url"]: entry for entry in listed if (folder / entry["url"]).exists()}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it") from error
    for shard in shards:
        entries[shard.name] = {
            "url": shard.name,
            "md5sum": shard.md5,
            "nsamples": shard.samples,
            "filesize": shard.size,
        }
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "shardlist": [entries[name] for name in sorted(entries)],
    }
    text = json_text(index, indent=1) + "\n"
    replace_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def describe_captions(dataset: CaptionDataset) -> str:
    """A checksum of all ids and captions, and of the sizes of the photos' files."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        sample = dataset[index]
        size = sample.path.stat().st_size if sample.path is not None and sample.path.is_file() else -1
        digest.update(json.dumps([sample.id, sample.captions, size]).encode())
    return digest.hexdigest()


def _fault_file(shard: Path) -> Path:
    return shard.with_suffix(".left-out.json")


def _save_faults(shard: Path, faults: list[str]) -> None:
    path = _fault_file(shard)
    if not faults:
        path.unlink(missing_ok=True)
        return
    text = json_text(faults, indent=1) + "\n"
    replace_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def _load_faults(shard: Path) -> list[str]:
    """The error messages of the samples left out of an existing shard."""
    path = _fault_file(shard)
    if not path.exists():
        return []
    try:
        return [str(fault) for fault in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and {shard.name}") from error


def _photo(dataset: CaptionDataset, index: int, *, check: bool) -> tuple[bytes, str]:
    """The bytes of a photo's file and its suffix."""
    sample = dataset[index]
    if sample.path is None:
        buffer = io.BytesIO()
        Image.fromarray(dataset.photo(index).pixels).save(buffer, "PNG")
        return buffer.getvalue(), "png"
    try:
        content = sample.path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {sample.path}: {error.strerror}") from error
    kind = sniff(content[:512])
    if check or kind not in _SUFFIXES:
        read_photo(sample.path)  # raises the photo's error
    return content, _SUFFIXES[kind]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # without owner and time: the bytes depend on the dataset alone
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
