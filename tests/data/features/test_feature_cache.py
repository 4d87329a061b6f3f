from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.data.features.feature_cache import FeatureCache, StoredFeatures
from captioner.data.features.feature_writer import write_features
from captioner.data.samples import CaptionSample
from captioner.data.shards.shard_dataset import Shards
from captioner.data.torch_dataset import PhotoInputs, SampleRequest, sample_generator
from captioner.errors import CaptionerError, DataError, ImageError, UsageError
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import ImageTransform
from captioner.models.encoders.encoder import ImageEncoder
from tests.data.shards.scene_shards import foreign

GREY = (0.5, 0.5, 0.5)
TRANSFORM = ImageTransform((32, 32), fit="squash", mean=GREY, std=GREY)
AUGMENT = TrainingAugment(TRANSFORM)


class Folder:
    """Photos of noise in a folder; captions of odd indices mention the left."""

    def __init__(self, folder: Path, size: int = 5) -> None:
        folder.mkdir(exist_ok=True)
        self.paths = [folder / f"{index}.png" for index in range(size)]
        for index, path in enumerate(self.paths):
            if not path.exists():
                noise = np.random.default_rng(index).integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(noise).save(path)
        self.words = ["a dog", "a dog on the left"]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(str(index), (self.words[index % 2],), self.paths[index])

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        return read_photo(self.paths[index], min_size=min_size)


def encoder(seed: int = 0, **settings: Any) -> ImageEncoder:
    torch.manual_seed(seed)
    return ImageEncoder("test_vit", (32, 32), **{"trainable": "none", **settings})


@pytest.fixture
def dataset(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "photos")


def stored(
    dataset: Any, folder: Path, *, augment: TrainingAugment | None = AUGMENT, **settings: Any
) -> StoredFeatures:
    """Stored features with two images per shard, so that there are several shards."""
    own = settings.pop("encoder", None) or encoder()
    transform = settings.pop("transform", TRANSFORM)
    cache = FeatureCache(own, folder=folder, **{"views": 2, **settings})
    features = cache.store("own", dataset, transform=transform, augment=augment)
    features.per_shard = 2
    return features


def write(features: StoredFeatures, augment: TrainingAugment | None = AUGMENT, **settings: Any) -> None:
    photos = PhotoInputs(features.dataset, TRANSFORM, augment)
    write_features(features, photos, encoder(), device=torch.device("cpu"), **settings)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_epoch_reads_the_features_of_its_view(dataset: Folder, tmp_path: Path, num_workers: int) -> None:
    features = stored(dataset, tmp_path)
    write(features, num_workers=num_workers)
    photos = PhotoInputs(dataset, TRANSFORM, AUGMENT)
    model = encoder().eval()
    for epoch in (0, 1, 2, 7):
        for index in (4, 0, 3):
            # The input of training from photos in the epoch of that view, encoded.
            view = SampleRequest(epoch % 2, index)
            with torch.no_grad():
                expected = model(photos(view, sample_generator(view, seed=0))[None]).features[0]
            found = features(SampleRequest(epoch, index), torch.Generator())
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not torch.equal(
        features(SampleRequest(0, 1), torch.Generator()), features(SampleRequest(1, 1), torch.Generator())
    )


def test_without_augmentation_there_is_one_plain_view(dataset: Folder, tmp_path: Path) -> None:
    features = stored(dataset, tmp_path, augment=None)
    assert features.views == 1
    write(features, None)
    with torch.no_grad():
        expected = encoder().eval()(TRANSFORM(dataset.photo(3))[0][None]).features[0]
    for epoch in (0, 5):
        found = features(SampleRequest(epoch, 3), torch.Generator())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_tokens_are_those_of_the_encoder(dataset: Folder, tmp_path: Path) -> None:
    like = stored(dataset, tmp_path).like
    with torch.no_grad():
        tokens = encoder().eval()(torch.zeros(1, 3, 32, 32))
    assert dataclasses.replace(like, features=tokens.features) == like or (
        like.grid,
        like.num_prefix,
        like.cells,
    ) == (tokens.grid, tokens.num_prefix, tokens.cells)


def test_the_same_settings_lead_to_the_same_folder(dataset: Folder, tmp_path: Path) -> None:
    assert stored(dataset, tmp_path).folder == stored(dataset, tmp_path).folder


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": encoder(1)},
        {"encoder": encoder(level=0)},
        {"transform": dataclasses.replace(TRANSFORM, fit="crop")},
        {"augment": dataclasses.replace(AUGMENT, flip=0.1)},
        {"augment": None},
        {"views": 3},
        {"dtype": "int8"},
    ],
    ids=str,
)
def test_other_settings_lead_to_another_folder(
    dataset: Folder, tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert stored(dataset, tmp_path, **settings).folder != stored(dataset, tmp_path).folder


def test_other_photos_lead_to_another_folder(dataset: Folder, tmp_path: Path) -> None:
    before = stored(dataset, tmp_path).folder
    plain = stored(dataset, tmp_path, augment=None).folder
    french = dataclasses.replace(AUGMENT, sides=["chien"])
    assert stored(dataset, tmp_path, augment=french).folder != before
    dataset.words[0] = "a dog on the right"  # flips depend on captions only with augmentation
    assert stored(dataset, tmp_path).folder != before
    assert stored(dataset, tmp_path, augment=None).folder == plain
    Image.new("RGB", (40, 40)).save(dataset.paths[2])
    assert stored(dataset, tmp_path, augment=None).folder != plain
    assert stored(Folder(tmp_path / "photos", 4), tmp_path, augment=None).folder != plain


def test_a_photo_edited_to_the_same_size_leads_to_another_folder(tmp_path: Path) -> None:
    dataset = Folder(tmp_path / "photos", 30)
    for path in dataset.paths:
        os.utime(path, (1, 1))
    before = stored(dataset, tmp_path, augment=None).folder
    path = dataset.paths[1]  # not one of the few whose pixels are part of the checksum
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert stored(dataset, tmp_path, augment=None).folder != before
    content[-20] ^= 1
    path.write_bytes(content)
    assert stored(dataset, tmp_path, augment=None).folder == before


def test_a_copy_of_the_photos_leads_to_the_same_folder(dataset: Folder, tmp_path: Path) -> None:
    before = stored(dataset, tmp_path).folder
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    assert stored(Folder(tmp_path / "copy"), tmp_path).folder == before


def test_files_of_many_photos_are_part_of_the_checksum(tmp_path: Path) -> None:
    photos = {f"{key:02d}": {"caption": "a dog"} for key in range(30)}
    foreign(tmp_path / "a.tar", photos)
    before = stored(Shards("a.tar", root=tmp_path), tmp_path, augment=None).folder
    content = bytearray((tmp_path / "a.tar").read_bytes())
    at = (
        content.index(b"IEND", content.index(b"01.png")) + 4
    )  # the checksum of the end, which decoders ignore
    content[at] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    assert stored(Shards("a.tar", root=tmp_path), tmp_path, augment=None).folder != before


def test_a_folder_with_other_features_is_refused(dataset: Folder, tmp_path: Path) -> None:
    file = stored(dataset, tmp_path).folder / "description.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps({**description, "views": 9}))
    with pytest.raises(DataError, match=r"other settings \(views differ\)"):
        stored(dataset, tmp_path)
    file.write_text("{")
    with pytest.raises(DataError, match=r"description\.json .*damaged.*delete"):
        stored(dataset, tmp_path)


def test_damage_is_noticed(dataset: Folder, tmp_path: Path) -> None:
    features = stored(dataset, tmp_path)
    write(features)
    path = features.path(0)
    whole = path.read_bytes()
    path.write_bytes(whole[:600] + bytes([whole[600] ^ 64]) + whole[601:])
    with pytest.raises(DataError, match=r"00000\.npy .*image 0.*delete"):
        features(SampleRequest(0, 0), torch.Generator())
    for content in (whole[: len(whole) // 2], b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"00000\.npy .*delete"):
            stored(dataset, tmp_path)(SampleRequest(0, 0), torch.Generator())
    np.save(path, np.zeros(3))
    with pytest.raises(DataError, match=r"00000.npy .*other features"):
        stored(dataset, tmp_path)(SampleRequest(0, 0), torch.Generator())
    path.unlink()
    again = stored(dataset, tmp_path)
    write(again)
    assert path.read_bytes() == whole


def test_a_photo_that_cannot_be_read_is_named(dataset: Folder, tmp_path: Path) -> None:
    dataset.paths[3].write_bytes(b"<html>")
    for num_workers in (0, 1):
        with pytest.raises(ImageError, match=r"^\S*3.png is .*unsupported format"):
            write(stored(dataset, tmp_path), num_workers=num_workers)


def test_the_rounding_error_of_int8_is_reported(
    dataset: Folder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(stored(dataset, tmp_path, dtype="int8"))
    output = capfd.readouterr().err
    assert "5 images x 2 views, 4 kB" in output
    assert "rounding error" in output
    write(stored(dataset, tmp_path, dtype="int8"))
    assert capfd.readouterr().err == ""


def test_caches_of_other_settings_are_reported(
    dataset: Folder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new = stored(dataset, tmp_path, views=3), stored(dataset, tmp_path)
    write(old)
    write(new)
    capfd.readouterr()
    FeatureCache(encoder(), folder=tmp_path).report_other_settings("own", keep=new.folder)
    output = capfd.readouterr().err
    assert str(old.folder) in output
    assert str(new.folder) not in output
    FeatureCache(encoder(), folder=tmp_path).report_other_settings("another", keep=new.folder)
    assert capfd.readouterr().err == ""


def test_too_little_disk_space_is_reported_beforehand(
    dataset: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = stored(dataset, tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CaptionerError, match=r"needs \d+ kB, and 1 kB are free"):
        write(features)
    assert list(features.missing()) == [0, 1, 2]


def test_a_full_disk_is_reported(dataset: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, rows: Any, *, allow_pickle: bool) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    features = stored(dataset, tmp_path)
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CaptionerError, match=r"feature cache.*No space left on device"):
        write(features)
    assert [path.name for path in features.folder.iterdir()] == ["description.json"]


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"encoder\.trainable=all.*cache=none"):
        FeatureCache(encoder(trainable="all"), folder=tmp_path)
    with pytest.raises(UsageError, match=r"cache.views=0 must be at least 1"):
        FeatureCache(encoder(), folder=tmp_path, views=0)
    with pytest.raises(UsageError, match=r"cache\.dtype=int4 .*did you mean int8"):
        FeatureCache(encoder(), folder=tmp_path, dtype="int4")  # type: ignore[arg-type]
