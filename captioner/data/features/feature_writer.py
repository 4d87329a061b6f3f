"""Writer of features for several processes at once, which can continue after a kill.

A shard appears under its name only when it is complete and on disk. A process claims a missing shard by a lock that the
system releases when the process ends, in any way; so the processes share the work, and none waits for a dead one.
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
from captioner.data.integrity.faults import OnBad
from captioner.data.loader import unwrap_worker_errors
from captioner.data.torch_dataset import ImageInputs, SampleRequest, sample_generator
from captioner.errors import CaptionerError, ImageError
from captioner.files import lock_file, replace_file
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens

_BATCH = 32
_POLL = 0.5  # seconds between checks of the shards that other processes write


def write_features(
    stored: StoredFeatures,
    inputs: ImageInputs,
    encoder: ImageEncoder,
    *,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    num_workers: int = 0,
    on_bad: OnBad = "stop",
    show: bool = True,
) -> None:
    """Write the missing features, together with all processes that do the same; return when all are complete.

    View v is the input of training with seed 0 in epoch v.

    Args:
        stored: The features to write.
        inputs: Pixels of a request.
        encoder: Frozen; remains on `device`.
        device: The device of the encoder.
        precision: Makes the precision context of the encoder; by default that of its weights.
        num_workers: Worker processes.
        on_bad: "stop" at a photo that cannot be read, or "skip" it and mark its rows.
        show: Whether progress is shown on standard error.

    Raises:
        ImageError: A photo cannot be read, and `on_bad` is "stop".
        CaptionerError: The disk has too little space, or writing fails.
        UsageError: The features cannot be stored in the chosen type.
    """
    missing = list(stored.missing())
    if not missing:
        return
    _check_disk_space(stored, missing)
    progress = WritingProgress(stored, show=show)
    encoder.eval().to(device)

    def encode(pixels: Tensor) -> Tensor:
        with precision():
            tokens: ImageTokens = encoder(pixels.to(device, memory_format=torch.channels_last))
        return tokens.features.float().cpu()

    views = _Views(inputs, on_bad)
    try:
        while missing := list(stored.missing()):
            if not _write_unclaimed(
                stored, missing, views, encode, num_workers=num_workers, progress=progress
            ):
                time.sleep(_POLL)
                progress.draw()
    except OSError as error:
        raise CaptionerError(
            f"cannot write the feature cache {stored.folder}: {error.strerror}; complete shards are used again"
        ) from error
    progress.end()


def _write_unclaimed(
    stored: StoredFeatures,
    missing: Sequence[int],
    views: _Views,
    encode: Callable[[Tensor], Tensor],
    *,
    num_workers: int,
    progress: WritingProgress,
) -> bool:
    """Write every shard that no other process writes. Returns whether there was any."""
    claims = _Claims(stored, missing)
    loader: Any = DataLoader(
        views,
        batch_sampler=claims,
        collate_fn=_stack,
        num_workers=num_workers,
        # Not the global generator: dropout would differ between runs that write features and runs that find them.
        generator=torch.Generator(),
    )
    shard, rows, left = -1, np.zeros(0, stored.row), 0
    wrote = False
    try:
        with unwrap_worker_errors(), torch.inference_mode():
            for requests, readable, pixels in loader:
                for request, is_readable, values in zip(requests, readable, encode(pixels), strict=True):
                    if left == 0:
                        shard = request.index // stored.per_shard
                        rows = np.zeros((len(stored.images_of(shard)), stored.views), stored.row)
                        left = rows.size
                    row = rows[request.index % stored.per_shard, request.epoch]
                    left -= 1
                    if is_readable:
                        progress.add(pack(values, row))
                    else:
                        row["state"] = UNREADABLE
                if left == 0:
                    _save(stored.path(shard), rows)
                    claims.release(shard)
                    progress.shard_complete()
                    wrote = True
                progress.draw()
    finally:
        claims.release_all()
    return wrote


class _Views(Dataset[tuple[SampleRequest, bool, Tensor]]):
    """Every view of every image by `SampleRequest`, and whether its photo could be read."""

    def __init__(self, inputs: ImageInputs, on_bad: OnBad) -> None:
        self.inputs = inputs
        self.on_bad = on_bad

    def __getitem__(self, request: SampleRequest) -> tuple[SampleRequest, bool, Tensor]:
        try:
            return request, True, self.inputs(request, sample_generator(request, seed=0))
        except ImageError:
            if self.on_bad == "stop":
                raise
            return request, False, self.inputs.blank()


def _stack(
    views: Sequence[tuple[SampleRequest, bool, Tensor]],
) -> tuple[list[SampleRequest], list[bool], Tensor]:
    requests, readable, pixels = zip(*views, strict=True)
    return list(requests), list(readable), torch.stack(pixels)


class _Claims:
    """The batches of the shards that this process claims; no batch contains requests of two shards."""

    def __init__(self, stored: StoredFeatures, missing: Sequence[int]) -> None:
        self.stored = stored
        self.missing = missing
        self._locks: dict[int, tuple[Path, IO[bytes]]] = {}

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        for shard in self.missing:
            if not self._claim(shard):
                continue
            requests = [
                SampleRequest(v, i) for i in self.stored.images_of(shard) for v in range(self.stored.views)
            ]
            yield from (requests[start : start + _BATCH] for start in range(0, len(requests), _BATCH))

    def _claim(self, shard: int) -> bool:
        path = self.stored.path(shard).with_suffix(".lock")
        if self.stored.path(shard).exists():
            return False
        file = path.open("wb")
        if not lock_file(file) or self.stored.path(shard).exists():
            file.close()
            return False
        for orphan in path.parent.glob(f".{self.stored.path(shard).name}.*"):
            orphan.unlink(missing_ok=True)  # its writer is dead, or the lock would not be free
        self._locks[shard] = (path, file)
        return True

    def release(self, shard: int) -> None:
        """Release the claim on a shard."""
        path, file = self._locks.pop(shard)
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()

    def release_all(self) -> None:
        """Release all claims."""
        for shard in list(self._locks):
            self.release(shard)


def _save(path: Path, rows: NDArray[np.void]) -> None:
    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.save(file, rows, allow_pickle=False)

    replace_file(path, write)


def _check_disk_space(stored: StoredFeatures, missing: Sequence[int]) -> None:
    views = sum(len(stored.images_of(shard)) for shard in missing) * stored.views
    needed = views * stored.row.itemsize * 1.01
    free = shutil.disk_usage(stored.folder).free
    if needed > free:
        raise CaptionerError(
            f"the feature cache {stored.folder} needs {file_size(needed)}, and {file_size(free)} are free; "
            "free disk space, or choose another cache.folder, fewer cache.views or cache.dtype=int8"
        )
