"""How are features written by several processes at once, and after a kill? Shard by shard, each under a lock.

A shard appears under its name only when it is complete and on disk. Whoever finds one missing claims it by a lock that
the system releases with the process, however it ends; so work is shared, and nothing waits for the dead.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioner.data.features.feature_cache import StoredFeatures
from captioner.data.features.feature_progress import WritingProgress, file_size
from captioner.data.features.feature_rows import UNREADABLE, pack
from captioner.data.loader import own_words
from captioner.data.torch_dataset import Draw, OnBad, Pictures, generator_of
from captioner.errors import CaptionerError, ImageError
from captioner.files import lock_file, replace_file
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens

_BATCH = 32
_POLL = 0.5  # seconds between two looks at shards that other processes write


def write_features(
    stored: StoredFeatures,
    pictures: Pictures,
    encoder: ImageEncoder,
    *,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    num_workers: int = 0,
    on_bad: OnBad = "stop",
    show: bool = True,
) -> None:
    """Write what is missing, together with every other process that does the same; return when all is there.

    View v is what training with seed 0 would show in epoch v.

    Args:
        stored: What to write.
        pictures: Pixels of a draw.
        encoder: Frozen; left on `device`.
        device: Where to encode.
        precision: Makes the context in which the encoder computes; by default as its weights are.
        num_workers: Reading processes.
        on_bad: "stop" at a photo that cannot be read, or "skip" it: its rows say so.
        show: Tell the progress on standard error.

    Raises:
        ImageError: A photo cannot be read, and `on_bad` is "stop".
        CaptionerError: There is too little room, or the disk refuses.
        UsageError: The features cannot be kept in the type that was chosen.
    """
    missing = list(stored.missing())
    if not missing:
        return
    _check_room(stored, missing)
    progress = WritingProgress(stored, show=show)
    encoder.eval().to(device)

    def encode(pixels: Tensor) -> Tensor:
        with precision():
            tokens: ImageTokens = encoder(pixels.to(device, memory_format=torch.channels_last))
        return tokens.features.float().cpu()

    views = _Views(pictures, on_bad)
    try:
        while missing := list(stored.missing()):
            if not _write_free(stored, missing, views, encode, num_workers=num_workers, progress=progress):
                time.sleep(_POLL)
                progress.draw()
    except OSError as error:
        raise CaptionerError(
            f"cannot write the feature cache {stored.folder}: {error.strerror}; what is complete is used again"
        ) from error
    progress.end()


def _write_free(
    stored: StoredFeatures,
    missing: Sequence[int],
    views: _Views,
    encode: Callable[[Tensor], Tensor],
    *,
    num_workers: int,
    progress: WritingProgress,
) -> bool:
    """Write every shard that no other process writes. Returns whether there was one."""
    claims = _Claims(stored, missing)
    loader: Any = DataLoader(
        views,
        batch_sampler=claims,
        collate_fn=_stack,
        num_workers=num_workers,
        # Its own, or a run that writes would drop out other units than one that finds the features there.
        generator=torch.Generator(),
    )
    shard, rows, left = -1, np.zeros(0, stored.row), 0
    wrote = False
    try:
        with own_words(), torch.inference_mode():
            for draws, readable, pixels in loader:
                for draw, whole, values in zip(draws, readable, encode(pixels), strict=True):
                    if left == 0:
                        shard = draw.index // stored.per_shard
                        rows = np.zeros((len(stored.images_of(shard)), stored.views), stored.row)
                        left = rows.size
                    row = rows[draw.index % stored.per_shard, draw.epoch]
                    left -= 1
                    if whole:
                        progress.add(pack(values, row))
                    else:
                        row["state"] = UNREADABLE
                if left == 0:
                    _keep(stored.path(shard), rows)
                    claims.release(shard)
                    progress.shard()
                    wrote = True
                progress.draw()
    finally:
        claims.release_all()
    return wrote


class _Views(Dataset[tuple[Draw, bool, Tensor]]):
    """Every view of every image, asked by `Draw`; with each whether it could be read."""

    def __init__(self, pictures: Pictures, on_bad: OnBad) -> None:
        self.pictures = pictures
        self.on_bad = on_bad

    def __getitem__(self, draw: Draw) -> tuple[Draw, bool, Tensor]:
        try:
            return draw, True, self.pictures(draw, generator_of(draw, seed=0))
        except ImageError:
            if self.on_bad == "stop":
                raise
            return draw, False, self.pictures.blank()


def _stack(views: Sequence[tuple[Draw, bool, Tensor]]) -> tuple[list[Draw], list[bool], Tensor]:
    draws, readable, pixels = zip(*views, strict=True)
    return list(draws), list(readable), torch.stack(pixels)


class _Claims:
    """The batches of those shards that this process gets hold of; no batch has draws of two shards."""

    def __init__(self, stored: StoredFeatures, missing: Sequence[int]) -> None:
        self.stored = stored
        self.missing = missing
        self._locks: dict[int, tuple[Path, IO[bytes]]] = {}

    def __iter__(self) -> Iterator[list[Draw]]:
        for shard in self.missing:
            if not self._claim(shard):
                continue
            draws = [Draw(v, i) for i in self.stored.images_of(shard) for v in range(self.stored.views)]
            yield from (draws[start : start + _BATCH] for start in range(0, len(draws), _BATCH))

    def _claim(self, shard: int) -> bool:
        path = self.stored.path(shard).with_suffix(".lock")
        if self.stored.path(shard).exists():
            return False
        file = path.open("wb")
        if not lock_file(file) or self.stored.path(shard).exists():
            file.close()
            return False
        for orphan in path.parent.glob(f".{self.stored.path(shard).name}.*"):
            orphan.unlink(missing_ok=True)  # whoever was writing it is dead, or we would not hold the lock
        self._locks[shard] = (path, file)
        return True

    def release(self, shard: int) -> None:
        """Give up the claim on a shard."""
        path, file = self._locks.pop(shard)
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()

    def release_all(self) -> None:
        """Give up all claims."""
        for shard in list(self._locks):
            self.release(shard)


def _keep(path: Path, rows: NDArray[np.void]) -> None:
    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.save(file, rows, allow_pickle=False)

    replace_file(path, write)


def _check_room(stored: StoredFeatures, missing: Sequence[int]) -> None:
    views = sum(len(stored.images_of(shard)) for shard in missing) * stored.views
    needed = views * stored.row.itemsize * 1.01
    free = shutil.disk_usage(stored.folder).free
    if needed > free:
        raise CaptionerError(
            f"the feature cache {stored.folder} needs {file_size(needed)}, and {file_size(free)} are free; "
            "make room, choose another cache.folder, fewer cache.views or cache.dtype=int8"
        )
