from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.data.open import open_split
from captioner.data.readers.huggingface import HuggingFace
from captioner.errors import DataError, ImageError, UsageError
from tests.conftest import compose
from tests.data.readers.formats import (
    TRAIN,
    VAL,
    captions_of,
)


def save(root: Path, columns: dict[str, list[Any]], **features: Any) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict(columns)
    for column, feature in features.items():
        rows = rows.cast_column(column, feature)
    rows.save_to_disk(str(root / "saved"))
    return root / "saved"


def test_hugging_face_photos_in_the_rows(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    parts = {}
    for split, captions in (("train", TRAIN), ("validation", VAL)):
        columns = {
            "image": [str(root / "images" / name) for name in captions],
            "caption": list(captions.values()),
        }
        parts[split] = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.DatasetDict(parts).save_to_disk(str(root / "saved"))
    train, val = HuggingFace(root / "saved", "train"), HuggingFace(root / "saved", "val")
    assert [(train[i].id, list(train[i].captions)) for i in range(2)] == list(TRAIN.items())
    assert (train[0].path, train.photo(1).size, val.photo(0).size) == (None, (5, 6), (6, 6))
    again = pickle.loads(pickle.dumps(train))
    assert again.photo(1).size == (5, 6)
    with pytest.raises(DataError, match=r"saved .*test.*train, validation"):
        HuggingFace(root / "saved", "test")


def test_hugging_face_photos_in_files(root: Path) -> None:
    saved = save(
        root,
        {"file": ["a.jpg", "b.jpg"], "text": ["A dog.", "A cat."], "part": ["train", "test"], "n": [4, 5]},
    )
    for name in TRAIN:
        (root / "images" / name).rename(saved / name)
    columns = {"image_column": "file", "caption_column": "text", "split_column": "part", "id_column": "n"}
    data = HuggingFace(saved, "train", **columns)  # type: ignore[arg-type]
    assert (data[0].id, data[0].path, data.photo(0).size) == ("4", saved / "a.jpg", (4, 6))
    with pytest.raises(DataError, match=r"'image'.*file, text, part, n.*image_column"):
        HuggingFace(saved, "train")
    with pytest.raises(DataError, match=r"no column 'txet'.+did you mean text"):
        HuggingFace(saved, "train", image_column="file", caption_column="txet")


HUGGING_FACE_FAULTS = [
    ({"image": ["a.jpg", "../b.jpg"]}, r"saved: row 1: photo '\.\./b\.jpg' lies outside"),
    ({"image": ["a.jpg", "a.jpg"]}, r"saved: row 1 has the id a\.jpg of row 0"),
    ({"image": ["a.jpg", None]}, r"saved: row 1 has no photo in image"),
    ({"caption": ["A dog.", None]}, r"saved: row 1: caption is None, not a text"),
    ({"split": ["train", "weekday"]}, r"saved: row 1: split is 'weekday'; a split is train, val, test"),
]


@pytest.mark.parametrize(("change", "message"), HUGGING_FACE_FAULTS)
def test_faults_of_a_hugging_face_dataset(root: Path, change: dict[str, list[Any]], message: str) -> None:
    columns = {"image": ["a.jpg", "b.jpg"], "caption": ["A dog.", "A cat."], "split": ["train", "train"]}
    saved = save(root, {**columns, **change})
    for name in TRAIN:
        (root / "images" / name).rename(saved / name)
    with pytest.raises(DataError, match=message):
        HuggingFace(saved, "train", split_column="split")
    data = HuggingFace(saved, "train", split_column="split", on_bad="skip")
    assert (len(data), data.report.faults) == (1, 1)


def test_hugging_face_bytes_that_are_no_photo_are_named_by_their_row(root: Path) -> None:
    good = (root / "images" / "a.jpg").read_bytes()
    saved = save(root, {"image": [good, b"", b"<html>"], "caption": ["a", "b", "c"], "split": ["train"] * 3})
    data = HuggingFace(saved, "train", split_column="split")
    assert data.photo(0).size == (4, 6)
    with pytest.raises(ImageError, match=r"saved: row 1 \(00000001\): .+is empty"):
        data.photo(1)
    with pytest.raises(ImageError, match=r"saved: row 2 .+ is a web page"):
        data.photo(2)


def test_a_hugging_face_dataset_cut_short_is_refused(root: Path) -> None:
    saved = save(root, {"image": ["a.jpg"], "caption": ["A dog."]})
    (part,) = saved.glob("*.arrow")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match=r"saved .*Hugging Face"):
        HuggingFace(saved, "train")
    with pytest.raises(DataError, match=r"images .*Hugging Face"):
        HuggingFace(root / "images", "train")


def test_rows_of_a_hugging_face_dataset_outside_the_root_are_read_only_when_allowed(root: Path) -> None:
    good = (root / "images" / "a.jpg").read_bytes()
    saved = save(root, {"image": [good], "caption": ["A dog."], "split": ["train"]})
    (part,) = saved.glob("*.arrow")
    part.rename(root / "elsewhere.arrow")
    part.symlink_to(root / "elsewhere.arrow")
    with pytest.raises(DataError, match=r"elsewhere\.arrow.*data\.root="):
        HuggingFace(saved, "train", split_column="split")
    assert len(HuggingFace(saved, "train", split_column="split", allow_outside=True)) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_like_photos_of_a_hugging_face_dataset_stay_together(root: Path, inside: bool) -> None:
    photos = []
    for number in range(24):  # every other one is the one before, saved again
        blobs = np.random.default_rng(number // 2).integers(0, 256, (9, 9, 3), np.uint8)
        picture = Image.fromarray(blobs).resize((96, 96), Image.Resampling.BICUBIC)
        photos.append(f"{number}.jpg")
        picture.save(root / photos[-1], quality=90 - number % 2 * 30)
    content = [(root / name).read_bytes() for name in photos] if inside else photos
    saved = save(root, {"image": content, "caption": [f"number {n}" for n in range(24)]})
    for name in photos:
        (root / name).rename(saved / name)
    split_of: dict[str, str] = {}
    for split in ("train", "val", "test"):
        with contextlib.suppress(DataError):  # where so few photos leave a split empty
            data = HuggingFace(saved, split, split_by="content")
            split_of |= {data[index].captions[0]: split for index in range(len(data))}
    assert len(split_of) == 24
    assert all(split_of[f"number {n}"] == split_of[f"number {n + 1}"] for n in range(0, 24, 2))
    with pytest.raises(UsageError, match=r"split_by='name' .*hash.*content"):
        HuggingFace(saved, "train", split_by="name")  # type: ignore[arg-type]


def test_a_hugging_face_dataset_is_reached_by_its_name(root: Path) -> None:
    saved = save(root, {"image": ["a.jpg"], "caption": ["A dog."], "split": ["train"]})
    (root / "images" / "a.jpg").rename(saved / "a.jpg")
    data = compose("train", "data=huggingface", f"data.root={saved}", "data.split_column=split").data
    assert captions_of(open_split(data, "train")) == {"a.jpg": ["A dog."]}
