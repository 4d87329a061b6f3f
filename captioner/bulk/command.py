"""The command `captioner.predict bulk=true`: choose this process's parts, caption them, report."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.build import as_list
from captioner.bulk.parts import Parts
from captioner.bulk.run import Progress, caption_parts
from captioner.bulk.work import Part, Share, names_shards, parts_of_photos, parts_of_shards, share_of
from captioner.data.shards.shard_files import find_shards
from captioner.decoding import Search
from captioner.errors import UsageError
from captioner.files import output_folder
from captioner.image.find import iter_photos
from captioner.pipeline import CaptionPipeline
from captioner.version import __version__


def caption_in_bulk(
    settings: Mapping[str, Any], images: Sequence[str], pipeline: CaptionPipeline, search: Search
) -> int:
    """Caption this process's share of `images` into `output_dir`, continuing an earlier start.

    Args:
        settings: The settings of predict.yaml.
        images: Photos, folders, lists or shards, as the user named them.
        pipeline: The model.
        search: How captions are chosen.

    Returns:
        1 if a photo could not be read, else 0.

    Raises:
        UsageError: A setting is out of range, or the folder holds another run.
    """
    for name in ("batch_size", "part_size"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            raise UsageError(f"{name}={settings[name]} must be a whole number of at least 1")
    share = share_of(settings["shard"], os.environ)
    if share.count > 1 and "-" in images:
        raise UsageError("images=- is read by one process alone; name a list file for the processes of a run")
    shards = find_shards(images) if names_shards(images) else None
    if shards is None:
        work = parts_of_photos(iter_photos(images, stdin=sys.stdin), settings["part_size"])
    else:
        work = parts_of_shards(shards)
    own = _OwnParts(work, share)
    fixed = {
        "version": __version__,
        "model": _digest([settings["model"], *as_list(settings["ensemble"])]),
        "average": settings["average"],
        "search": search.spec(),
        "batch_size": settings["batch_size"],
        "part_size": settings["part_size"] if shards is None else None,
        "shards": None if shards is None else hashlib.sha256("\n".join(shards).encode()).hexdigest(),
    }
    parts = Parts(output_folder(settings["output_dir"]), fixed, share)
    progress = caption_parts(
        pipeline,
        own,
        parts,
        search=search,
        batch_size=settings["batch_size"],
        readers=settings["readers"],
    )
    return _report(progress, parts.complete(own.total), parts.folder, share)


class _OwnParts:
    """The parts of a share.

    Attributes:
        total: The number of parts of all shares so far.
    """

    def __init__(self, parts: Iterable[Part], share: Share) -> None:
        self.parts = parts
        self.share = share
        self.total = 0

    def __iter__(self) -> Iterator[Part]:
        for part in self.parts:
            self.total += 1
            if self.share.has(part.number):
                yield part


def _report(progress: Progress, manifest: dict[str, Any] | None, folder: Path, share: Share) -> int:
    """Print what was done; the exit status."""
    done = progress.captioned + progress.bad
    of = "" if share.count == 1 else f" (process {share.index} of {share.count})"
    print(
        f"{done:,} photos captioned now, {progress.found:,} before, {progress.bad:,} could not be read{of}; "
        f"{progress.speed()}",
        file=sys.stderr,
    )
    if manifest is None:
        print(f"{folder}: parts of other processes are missing", file=sys.stderr)
    else:
        print(
            f"complete: {manifest['photos']:,} photos in {manifest['parts']:,} parts, {manifest['errors']:,} of them "
            f"could not be read: {folder / 'manifest.json'}",
            file=sys.stderr,
        )
    return 1 if progress.bad or (manifest or {}).get("errors") else 0


def _digest(paths: Sequence[str]) -> str:
    """SHA-256 of the model files: the captions of a run are those of one model."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
