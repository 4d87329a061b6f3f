"""Description of everything that stored features depend on: encoder, augmentation and photos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captioner.data.integrity.content_digest import content_digest
from captioner.data.samples import CaptionDataset
from captioner.errors import ImageError
from captioner.image.augment import TrainingAugment, may_flip
from captioner.models.encoders.encoder import ImageEncoder

_PROBES = 8


def description_fingerprint(description: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that identify a description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]


def describe_encoder(encoder: ImageEncoder) -> dict[str, Any]:
    """Everything an encoder's features depend on, as JSON values: settings, layers, and a checksum of the weights."""
    weights = hashlib.sha256()
    for key, value in encoder.state_dict().items():
        weights.update(key.encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return {
        "name": encoder.name,
        "image_size": list(encoder.image_size),
        "level": encoder.level,
        "finer": encoder.finer,
        "merge": encoder.merge,
        "layers": hashlib.sha256(repr(encoder.model).encode()).hexdigest(),
        "weights": weights.hexdigest(),
    }


def describe_images(
    dataset: CaptionDataset, *, augment: TrainingAugment | None, cache: Path | None = None
) -> str:
    """A checksum of a dataset's images: the bytes of all files, and the decoded pixels of a few photos.

    The files are those of the photos, and the dataset's `stores`, if it has any: files that contain many photos.

    Args:
        dataset: The dataset.
        augment: The augmentation. With it, the checksum depends on which captions allow a photo to be flipped.
        cache: As in `content_digest`.
    """
    digest = hashlib.sha256()
    files: list[Path] = list(getattr(dataset, "stores", ()))
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.path is not None:
            files.append(sample.path)
        flips = augment is not None and may_flip(sample.captions, augment.sides)
        digest.update(json.dumps([sample.id, flips]).encode())
    digest.update(content_digest(files, cache=cache).encode())
    for index in sorted({round(place) for place in np.linspace(0, len(dataset) - 1, _PROBES)}):
        try:
            digest.update(dataset.photo(index).pixels.data)
        except ImageError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def describe_augment(augment: TrainingAugment) -> dict[str, Any]:
    """Everything an augmentation depends on, as JSON values."""
    return {
        "scale": list(augment.scale),
        "ratio": list(augment.ratio),
        "jitter": augment.jitter,
        "flip": augment.flip,
    }
