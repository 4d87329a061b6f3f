"""What does `captioner.predict bulk=true` do? Chooses this process's parts, captions them, sums up."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

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


def caption_in_bulk(cfg: DictConfig, images: Sequence[str], pipeline: CaptionPipeline, search: Search) -> int:
    """Caption this process's share of `images` into `output_dir`, going on where an earlier start stopped.

    Returns:
        1 if a photo could not be read, else 0.

    Raises:
        UsageError: A setting is out of range, or the folder holds another run.
    """
    for name in ("batch_size", "part_size"):
        if not isinstance(cfg[name], int) or cfg[name] < 1:
            raise UsageError(f"{name}={cfg[name]} must be a whole number of at least 1")
    share = share_of(cfg.shard, os.environ)
    if share.count > 1 and "-" in images:
        raise UsageError("images=- is read by one process alone; give the processes of a run a list file")
    shards = find_shards(images) if names_shards(images) else None
    if shards is None:
        work = parts_of_photos(iter_photos(images, stdin=sys.stdin), cfg.part_size)
    else:
        work = parts_of_shards(shards)
    own = _Own(work, share)
    settings = {
        "version": __version__,
        "model": _digest([cfg.model, *as_list(cfg.ensemble)]),
        "average": cfg.average,
        "search": search.spec(),
        "batch_size": cfg.batch_size,
        "part_size": cfg.part_size if shards is None else None,
        "shards": None if shards is None else hashlib.sha256("\n".join(shards).encode()).hexdigest(),
    }
    parts = Parts(output_folder(cfg.output_dir), settings, share)
    progress = caption_parts(
        pipeline, own, parts, search=search, batch_size=cfg.batch_size, readers=cfg.readers
    )
    return _conclude(progress, parts.complete(own.total), parts.folder, share)


def device_of(name: str, environment: Mapping[str, str]) -> str:
    """The device of this process: under torchrun each of a machine takes a GPU of its own, where there are several."""
    if name == "auto" and "LOCAL_RANK" in environment and torch.cuda.is_available():
        return f"cuda:{int(environment['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name


class _Own:
    """The parts of a share; all are counted on the way past."""

    def __init__(self, parts: Iterable[Part], share: Share) -> None:
        self.parts = parts
        self.share = share
        self.total = 0

    def __iter__(self) -> Iterator[Part]:
        for part in self.parts:
            self.total += 1
            if self.share.has(part.number):
                yield part


def _conclude(progress: Progress, manifest: dict[str, Any] | None, folder: Path, share: Share) -> int:
    done = progress.captioned + progress.bad
    of = "" if share.count == 1 else f" (process {share.index} of {share.count})"
    print(
        f"{done:,} photos captioned now, {progress.found:,} before, {progress.bad:,} could not be read{of}; "
        f"{progress.speed()}",
        file=sys.stderr,
    )
    if manifest is None:
        print(f"{folder} has parts of other processes to come", file=sys.stderr)
    else:
        print(
            f"complete: {manifest['photos']:,} photos in {manifest['parts']:,} parts, {manifest['errors']:,} of them "
            f"could not be read: {folder / 'manifest.json'}",
            file=sys.stderr,
        )
    return 1 if progress.bad or (manifest or {}).get("errors") else 0


def _digest(paths: Sequence[str]) -> str:
    """SHA-256 of model files: a run never mixes two models."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
