"""Which features of a frozen encoder are stored, where, and how are they read? `FeatureCache`, `StoredFeatures`.

A frozen encoder gives the same grid for the same pixels in every epoch, so the grids are written once. To keep
augmentation, `views` varied views of every training image are written, and epoch e reads view e modulo `views`: the
first epochs see the very views that training from photos would show.

Everything the features depend on is described in `description.json`, and its fingerprint is part of the folder's name:
other weights, another transform or other photos lead to another folder, never to wrong features.

Axis letters: `N` image tokens, `D` width of the features.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.data.features.feature_description import (
    describe_augment,
    describe_encoder,
    describe_images,
    fingerprint_of,
)
from captioner.data.features.feature_rows import READABLE, Kept, row_type, unpack
from captioner.data.samples import CaptionDataset
from captioner.data.torch_dataset import Draw
from captioner.errors import CaptionerError, DataError, ImageError, UsageError
from captioner.files import replace_file
from captioner.image.augment import TrainingAugment
from captioner.image.transforms import ImageTransform
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens

_FORMAT = 1
_SHARD_BYTES = 64 * 2**20  # what a kill costs at most, and what a writer holds in memory


class FeatureCache:
    """Folders of stored features of one frozen encoder.

    Args:
        encoder: Whose features are kept.
        folder: The caches' parent; each has a folder of its own below it.
        views: Varied views of each training image; one where nothing is varied.
        dtype: "fp16" (half floats) or "int8" (a byte a feature, and a scale for each token).

    Raises:
        UsageError: If the encoder is trained, or a value is out of range.
    """

    def __init__(
        self, encoder: ImageEncoder, *, folder: Path | str, views: int = 4, dtype: Kept = "fp16"
    ) -> None:
        if not encoder.frozen:
            raise UsageError(
                f"cache=features needs a frozen encoder, and encoder.trainable={encoder.trainable}: its features "
                "change with every step; set encoder.trainable=none or cache=none"
            )
        if views < 1:
            raise UsageError(f"cache.views={views} must be at least 1")
        self.encoder = encoder
        self.folder = Path(folder).expanduser()
        self.views = views
        self.dtype: Kept = dtype
        encoder.eval()
        with torch.no_grad():
            pixels = torch.zeros(1, 3, *encoder.image_size, device=next(encoder.parameters()).device)
            tokens: ImageTokens = encoder(pixels)
        self.like = dataclasses.replace(tokens, features=tokens.features.float().cpu())
        self.row = row_type(dtype, *self.like.features.shape[1:])
        self._encoder_description = describe_encoder(encoder)

    def store(
        self,
        name: str,
        dataset: CaptionDataset,
        *,
        transform: ImageTransform,
        augment: TrainingAugment | None,
        precision: str = "32-true",
    ) -> StoredFeatures:
        """The features of a dataset's images, written or not.

        Args:
            name: First part of the folder's name, for people.
            dataset: Its photos are described, none is encoded yet.
            transform: What every photo goes through.
            augment: What it goes through instead where views are varied; None for one plain view.
            precision: Lightning's name for the number format in which the encoder computes.

        Raises:
            DataError: If the folder holds other features than its name says.
            CaptionerError: If the folder cannot be written.
            UsageError: If every photo has a grid of its own.
        """
        if transform.fit == "native":
            raise UsageError(
                "cache=features stores grids of one size, and with image.fit=native they follow the photo; "
                "set cache=none, or image.fit=crop, pad or squash"
            )
        views = 1 if augment is None else self.views
        description = {
            "format": _FORMAT,
            "encoder": {**self._encoder_description, "precision": precision},
            "transform": transform.spec(),
            "augment": None if augment is None else describe_augment(augment),
            "views": views,
            "dtype": self.dtype,
            "tokens": list(self.like.features.shape[1:]),
            "images": len(dataset),
            "content": describe_images(dataset, augment=augment, cache=self.folder / f"{name}-digests.json"),
        }
        folder = self.folder / f"{name}-{fingerprint_of(description)}"
        _keep_description(folder / "description.json", description)
        return StoredFeatures(folder, dataset, views=views, row=self.row, like=self.like)

    def tell_others(self, name: str, *, keep: Path) -> None:
        """Say on standard error which folders of the same name hold features of other settings than those in `keep`."""
        found = self.folder.glob(f"{name}-" + "[0-9a-f]" * 12)
        others = sorted(path for path in found if path.is_dir() and path != keep)
        if others:
            size = sum(file.stat().st_size for path in others for file in path.iterdir())
            print(
                f"features of {name} with other settings take {size / 1e9:.2f} GB in {', '.join(map(str, others))}; "
                "delete what no run needs",
                file=sys.stderr,
                flush=True,
            )


class StoredFeatures:
    """The stored features of one dataset, shard by shard.

    A shard is one NumPy file of rows `[images, views]`, mapped into memory and read row by row.

    Args:
        folder: Where the shards are.
        dataset: Whose images they are of.
        views: Views of each image.
        row: The type of one view, from `row_type`.
        like: Tokens of the same encoder.

    Attributes:
        per_shard: Images in every shard but the last.
    """

    def __init__(
        self, folder: Path, dataset: CaptionDataset, *, views: int, row: np.dtype[np.void], like: ImageTokens
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.views = views
        self.row = row
        self.like = like
        self.per_shard = max(1, _SHARD_BYTES // (views * row.itemsize))
        self._open: dict[int, NDArray[np.void]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # To a spawned worker an open shard would go as a copy of all its features.
        return {**self.__dict__, "_open": {}}

    @property
    def shards(self) -> int:
        """Number of shards of the whole dataset."""
        return math.ceil(len(self.dataset) / self.per_shard)

    def images_of(self, shard: int) -> range:
        """The dataset's indices in one shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, len(self.dataset)))

    def path(self, shard: int) -> Path:
        """The file of one shard; there only when complete."""
        return self.folder / f"{shard:05d}.npy"

    def missing(self) -> Iterator[int]:
        """The shards that are not written yet."""
        return (shard for shard in range(self.shards) if not self.path(shard).exists())

    def __call__(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """The features float32 `[N, D]` of one draw.

        Raises:
            ImageError: The photo could not be read when its features were to be written.
            DataError: The shard is missing or damaged.
        """
        shard, place = divmod(draw.index, self.per_shard)
        row = self._shard(shard)[place, draw.epoch % self.views]
        if row["state"] != READABLE:
            self.dataset.photo(draw.index)  # says what is wrong with it
            raise ImageError(
                f"{self.dataset[draw.index].path} could not be read when {self.path(shard)} was written; "
                "delete that file, and the next run writes it again"
            )
        features = unpack(row)
        if features is None:
            raise DataError(
                f"{self.path(shard)} is damaged at image {place}; delete it, and the next run writes it again"
            )
        return features

    def blank(self, draw: Draw | None = None) -> Tensor:
        """What stands for an image that could not be read: float32 `[N, D]`."""
        return torch.zeros_like(self.like.features[0])

    def _shard(self, shard: int) -> NDArray[np.void]:
        if shard not in self._open:
            path = self.path(shard)
            try:
                rows: NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(
                    f"{path} cannot be read ({error}); delete it, and the next run writes it again"
                ) from error
            if rows.dtype != self.row or rows.shape != (len(self.images_of(shard)), self.views):
                raise DataError(
                    f"{path} holds other features than its folder says; delete it, and the next run writes it again"
                )
            self._open[shard] = rows
        return self._open[shard]


def _keep_description(path: Path, description: dict[str, Any]) -> None:
    text = json.dumps(description, indent=2) + "\n"
    try:
        if not path.exists():
            replace_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
        kept = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaptionerError(
            f"the feature cache {path.parent} cannot be written: {error.strerror}; choose another cache.folder"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); delete the folder {path.parent}") from error
    if kept != description:
        differing = [
            key for key in description if not isinstance(kept, dict) or kept.get(key) != description[key]
        ]
        raise DataError(
            f"{path.parent} holds features of other settings ({', '.join(differing)} differ); delete the folder, "
            "or choose another cache.folder"
        )
