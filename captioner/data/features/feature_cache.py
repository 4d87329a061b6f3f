"""Cache of a frozen encoder's features: `FeatureCache`, `StoredFeatures`.

A frozen encoder computes the same grid from the same pixels in every epoch, so the grids are stored once. With
augmentation, `views` augmented views of every training image are stored, and epoch e uses view e modulo `views`: the
first epochs use exactly the views of training from photos.

`description.json` records everything the features depend on, and its fingerprint is part of the folder's name: other
weights, another transform or other photos lead to another folder, never to wrong features.

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
    description_fingerprint,
)
from captioner.data.features.feature_rows import READABLE, StoredType, row_type, unpack
from captioner.data.samples import CaptionDataset
from captioner.data.torch_dataset import SampleRequest
from captioner.errors import CaptionerError, DataError, ImageError, UsageError
from captioner.files import replace_file
from captioner.image.augment import TrainingAugment
from captioner.image.transforms import ImageTransform
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens

_FORMAT = 1
_SHARD_BYTES = 64 * 2**20  # the most that a kill loses, and that a writer keeps in memory


class FeatureCache:
    """Folders of stored features of one frozen encoder.

    Args:
        encoder: The encoder.
        folder: The parent folder of all caches.
        views: Augmented views of each training image; one without augmentation.
        dtype: "fp16" (half floats) or "int8" (a byte per feature, and a scale per token).

    Raises:
        UsageError: If the encoder is trainable, or a value is out of range.
    """

    def __init__(
        self, encoder: ImageEncoder, *, folder: Path | str, views: int = 4, dtype: StoredType = "fp16"
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
        self.dtype: StoredType = dtype
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
        """The features of a dataset's images, whether written yet or not.

        Args:
            name: First part of the folder's name, for readers.
            dataset: The dataset; its photos are described here but not encoded.
            transform: The transform of every photo.
            augment: Replaces `transform` for augmented views; None for one view without augmentation.
            precision: Lightning's name of the encoder's precision.

        Raises:
            DataError: If the folder contains other features than its name says.
            CaptionerError: If the folder cannot be written.
            UsageError: If each photo has its own grid.
        """
        if transform.fit == "native":
            raise UsageError(
                "cache=features stores grids of one size, and with image.fit=native they depend on the photo; "
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
        folder = self.folder / f"{name}-{description_fingerprint(description)}"
        _check_description(folder / "description.json", description)
        return StoredFeatures(folder, dataset, views=views, row=self.row, like=self.like)

    def report_other_settings(self, name: str, *, keep: Path) -> None:
        """Report on standard error the folders of the same name with features of other settings than `keep`."""
        folders = self.folder.glob(f"{name}-" + "[0-9a-f]" * 12)
        others = sorted(path for path in folders if path.is_dir() and path != keep)
        if others:
            size = sum(file.stat().st_size for path in others for file in path.iterdir())
            print(
                f"features of {name} with other settings take {size / 1e9:.2f} GB in {', '.join(map(str, others))}; "
                "delete those that no run needs",
                file=sys.stderr,
                flush=True,
            )


class StoredFeatures:
    """The stored features of one dataset, shard by shard.

    A shard is one NumPy file of rows `[images, views]`, mapped into memory and read row by row.

    Args:
        folder: The folder of the shards.
        dataset: The dataset of the images.
        views: Views of each image.
        row: The type of one view, from `row_type`.
        like: Tokens of the same encoder, for grid and shape.

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
        # A memory-mapped shard would be pickled with all its features.
        return {**self.__dict__, "_open": {}}

    @property
    def shards(self) -> int:
        """Number of shards of the whole dataset."""
        return math.ceil(len(self.dataset) / self.per_shard)

    def images_of(self, shard: int) -> range:
        """The dataset's indices in one shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, len(self.dataset)))

    def path(self, shard: int) -> Path:
        """The file of one shard; it exists only when complete."""
        return self.folder / f"{shard:05d}.npy"

    def missing(self) -> Iterator[int]:
        """The shards that are not written yet."""
        return (shard for shard in range(self.shards) if not self.path(shard).exists())

    def __call__(self, request: SampleRequest, generator: torch.Generator) -> Tensor:
        """The features float32 `[N, D]` of one request.

        Raises:
            ImageError: The photo could not be read when its features were written.
            DataError: The shard is missing or damaged.
        """
        shard, position = divmod(request.index, self.per_shard)
        row = self._shard(shard)[position, request.epoch % self.views]
        if row["state"] != READABLE:
            self.dataset.photo(request.index)  # raises the photo's own error
            raise ImageError(
                f"{self.dataset[request.index].path} could not be read when {self.path(shard)} was written; "
                "delete that file, and the next run writes it again"
            )
        features = unpack(row)
        if features is None:
            raise DataError(
                f"{self.path(shard)} is damaged at image {position}; delete it, and the next run writes it again"
            )
        return features

    def blank(self, request: SampleRequest | None = None) -> Tensor:
        """The replacement of an image that could not be read: float32 `[N, D]`, all 0."""
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
                    f"{path} contains other features than its folder says; delete it, and the next run writes it again"
                )
            self._open[shard] = rows
        return self._open[shard]


def _check_description(path: Path, description: dict[str, Any]) -> None:
    text = json.dumps(description, indent=2) + "\n"
    try:
        if not path.exists():
            replace_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CaptionerError(
            f"the feature cache {path.parent} cannot be written: {error.strerror}; choose another cache.folder"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); delete the folder {path.parent}") from error
    if stored != description:
        differing = [
            key for key in description if not isinstance(stored, dict) or stored.get(key) != description[key]
        ]
        raise DataError(
            f"{path.parent} contains features of other settings ({', '.join(differing)} differ); delete the folder, "
            "or choose another cache.folder"
        )
