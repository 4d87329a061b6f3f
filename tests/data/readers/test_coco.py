from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.readers.coco import CocoCaptions
from captioner.errors import DataError, UsageError


def content() -> dict[str, Any]:
    """Two images; the second comes first, and their captions are mixed."""
    return {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 3, "caption": "A dog."},
            {"id": 2, "image_id": 7, "caption": "A cat.\n"},
            {"id": 3, "image_id": 3, "caption": "Un chien à la plage."},
        ],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "images" / "a.jpg")
    Image.new("RGB", (8, 5)).save(tmp_path / "images" / "b.jpg")
    write(tmp_path, content())
    return tmp_path


def write(root: Path, data: object) -> None:
    (root / "captions.json").write_text(json.dumps(data))


def test_images_come_in_the_order_of_the_file_with_their_captions(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = CocoCaptions(root, "all")
    assert [data[i].id for i in range(len(data))] == ["7", "3"]
    assert [data[i].captions for i in range(2)] == [("A cat.\n",), ("A dog.", "Un chien à la plage.")]
    assert data[1].path == root / "images" / "a.jpg"
    assert data.photo(0).size == (5, 8)
    assert data.report.summary() == "2 images, 3 captions"
    assert pickle.loads(pickle.dumps(data))[1] == data[1]
    assert capsys.readouterr().out == ""
    with pytest.raises(IndexError, match="index -1 is outside the 2 images"):
        data[-1]


@pytest.mark.parametrize("year", ["2017", "2014"])
def test_the_official_layout_is_found(root: Path, year: str) -> None:
    (root / "annotations").mkdir()
    (root / "captions.json").rename(root / "annotations" / f"captions_val{year}.json")
    (root / "images").rename(root / f"val{year}")
    assert CocoCaptions(root, "val")[0].path == root / f"val{year}" / "b.jpg"
    with pytest.raises(DataError, match=r"train captions.*captions_train2017\.json"):
        CocoCaptions(root, "train")


def test_files_of_other_names_and_sub_folders_can_be_given(root: Path) -> None:
    data = content()
    for image in data["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    (root / "mine.json").write_text(json.dumps(data), encoding="utf-8-sig")  # with a byte order mark
    assert len(CocoCaptions(root, "train", annotations="mine.json", images=".")) == 2


def test_ids_in_quotes_are_the_same_ids(root: Path) -> None:
    data = content()
    data["annotations"][1]["image_id"] = "7"
    write(root, data)
    assert CocoCaptions(root, "all").report.captions == 3


def test_missing_photos_and_captions_are_counted(root: Path) -> None:
    data = content()
    data["images"] += [{"id": 8, "file_name": "lost.jpg"}, {"id": 9, "file_name": "bare.jpg"}]
    data["annotations"] += [
        {"id": 10, "image_id": 8, "caption": "A lost photo."},
        {"id": 11, "image_id": 99, "caption": "Of an unknown image."},
        {"id": 12, "image_id": 3, "caption": " \n"},
    ]
    write(root, data)
    Image.new("RGB", (5, 5)).save(root / "images" / "bare.jpg")
    assert CocoCaptions(root, "all").report == ReadingReport(
        images=2, captions=3, missing_images=1, dropped_captions=2, empty_captions=1, uncaptioned_images=1
    )


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("images", 1, "file_name"),
            "../a.jpg",
            r"images\[1\]: photo '\.\./a\.jpg' lies outside the photo folder",
        ),
        (("images", 0, "file_name"), "/etc/passwd", r"images\[0\]: photo '/etc/passwd' lies outside"),
        (("images", 0, "file_name"), "", r"images\[0\]: '' cannot be the file name"),
        (("images", 0, "file_name"), None, r"images\[0\] has no file_name"),
        (("images", 1, "id"), 7, r"images\[1\] repeats the id 7"),
        (("images", 1, "id"), "7", r"images\[1\] repeats the id 7"),
        (("images", 1, "id"), 3.5, r"images\[1\]\.id is 3\.5; an id is a whole number or a text"),
        (("images", 1, "id"), True, r"images\[1\]\.id is True"),
        (("images", 1), "a.jpg", r"images\[1\] is not an object"),
        (("images",), {}, r"captions\.json has no list 'images'"),
        (("annotations",), None, r"captions\.json has no list 'annotations'"),
        (("annotations", 2, "id"), 1, r"annotations\[2\] repeats the id 1"),
        (("annotations", 0, "image_id"), None, r"annotations\[0\]\.image_id is None"),
        (("annotations", 0, "caption"), None, r"annotations\[0\] has no caption$"),
        (("annotations", 0, "caption"), 5, r"annotations\[0\]\.caption is 5, not a text"),
        (("annotations", 0, "caption"), "\ud83d", r"annotations\[0\]\.caption is not valid Unicode"),
        (
            ("annotations", 0),
            {"id": 1, "bbox": []},
            r"annotations\[0\] has no caption.+boxes",
        ),
    ],
)
def test_a_malformed_entry_is_named(
    root: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    data: Any = content()
    target = data
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    write(root, data)
    with pytest.raises(DataError, match=message):
        CocoCaptions(root, "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"captions\.json:1:1: not JSON \(Expecting value\)"),
        (b'{"images": [\n{"id": 1', r"captions\.json:2:9: not JSON"),
        (b"[]", r"captions\.json holds a JSON list, not an object with images and annotations"),
        (b"[" * 100_000, r"captions\.json is not a COCO file: .*recursion"),
        (b'{"images": ' + b"9" * 5000 + b"}", r"captions\.json is not a COCO file: "),
        (b'{"a": "caf\xe9"}', r"captions\.json is not UTF-8: byte 0xe9 at offset 10"),
    ],
)
def test_a_file_that_is_not_json_is_refused(root: Path, text: bytes, message: str) -> None:
    (root / "captions.json").write_bytes(text)
    with pytest.raises(DataError, match=message):
        CocoCaptions(root, "all")


def test_no_photo_and_no_caption_are_errors_that_name_both_sides(root: Path) -> None:
    write(root, {**content(), "annotations": []})
    with pytest.raises(DataError, match=r"captions\.json .*2 images.*images"):
        CocoCaptions(root, "all")
    write(root, {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": []})
    with pytest.raises(DataError, match=r"images .*1 images.*captions\.json .*x\.jpg"):
        CocoCaptions(root, "all")
    (root / "images").rename(root / "photos")
    with pytest.raises(DataError, match=r"COCO.*/images"):
        CocoCaptions(root, "all")
    with pytest.raises(DataError, match=r"root.*/nowhere"):
        CocoCaptions(root / "nowhere", "all")


def test_an_unknown_split_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"'test'.*train, val, all"):
        CocoCaptions(root, "test")


@pytest.mark.real
def test_the_real_photos(real_data: Path) -> None:
    data = CocoCaptions(real_data / "coco", "all")
    assert (len(data), data.report.captions, data.report.missing_images) == (200, 1000, 0)
    sizes = {image["id"]: (image["height"], image["width"]) for image in _images(real_data)}
    assert all(data.photo(i).size == sizes[int(data[i].id)] for i in range(0, 200, 40))


def _images(real_data: Path) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = json.loads((real_data / "coco" / "captions.json").read_text())["images"]
    return images
