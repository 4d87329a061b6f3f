"""Decoding of large photos at a reduced scale, with unchanged model inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.data.samples import CaptionSample
from captioner.data.torch_dataset import PhotoInputs, SampleRequest, sample_generator
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import ImageTransform

GREY = (0.5, 0.5, 0.5)


class Large:
    """One large, smooth photo; records the decoded sizes."""

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        if not path.exists():
            coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((1200, 900), Image.Resampling.BICUBIC).save(path, quality=95)
        self.path = path
        self.whole = whole
        self.decoded: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample("large", ("a photo",), self.path)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        photo = read_photo(self.path, min_size=None if self.whole else min_size)
        self.decoded.append((photo.pixels.shape[0], photo.pixels.shape[1]))
        return photo


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("varied", [False, True])
def test_large_photos_are_decoded_at_a_reduced_scale(tmp_path: Path, fit: str, varied: bool) -> None:
    transform = ImageTransform((48, 64), fit=fit, mean=GREY, std=GREY)  # type: ignore[arg-type]
    augment = TrainingAugment(transform) if varied else None
    reduced, whole = Large(tmp_path / "a.jpg"), Large(tmp_path / "a.jpg", whole=True)
    for epoch in range(3):
        request = SampleRequest(epoch, 0)
        found, expected = (
            PhotoInputs(dataset, transform, augment)(request, sample_generator(request, seed=0))
            for dataset in (reduced, whole)
        )
        # A grey level is 1/127.5; the whole photo is only shrunk by another kernel.
        # A crop begins at a whole pixel of what was decoded, hence up to half a pixel elsewhere.
        assert float((found - expected).abs().mean()) < (6 if varied else 2) / 127.5
    assert set(reduced.decoded) == {(113, 150)}
    assert set(whole.decoded) == {(900, 1200)}


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_no_crop_is_enlarged(tmp_path: Path, fit: str) -> None:
    transform = ImageTransform((48, 64), fit=fit, mean=GREY, std=GREY)  # type: ignore[arg-type]
    dataset, augment = Large(tmp_path / "a.jpg"), TrainingAugment(transform, scale=(0.04, 1.0))
    photos = PhotoInputs(dataset, transform, augment)
    for epoch in range(20):
        request = SampleRequest(epoch, 0)
        photos(request, sample_generator(request, seed=0))
        height, width = dataset.decoded[-1]
        shares = augment.draw(sample_generator(request, seed=0)).shares
        for share, seen, needed in zip(
            shares, transform.visible_size(height, width), transform.size, strict=True
        ):
            assert round(min(1.0, share) * seen) >= needed
    assert {(900, 1200), (450, 600), (225, 300), (113, 150)} >= set(dataset.decoded)
    assert len(set(dataset.decoded)) > 1  # large crops take fewer pixels
