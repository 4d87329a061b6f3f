from __future__ import annotations

import json
from pathlib import Path

import pytest

from captioner.errors import DataError, UsageError
from captioner.metrics.caption_files import match_names, read_candidates, read_references


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


CAPTIONS = {"7": "a dog", "8": "two cats, or “three”"}
LINES = "".join(json.dumps({"image": image, "caption": text}) + "\n" for image, text in CAPTIONS.items())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", [{"image_id": int(image), "caption": text} for image, text in CAPTIONS.items()]),
        ("captions.jsonl", LINES),
        ("captions.json", LINES),
        ("captions.txt", "\ufeff" + LINES + "\n"),
        ("captions.csv", 'image,caption\n7,a dog\n8,"two cats, or “three”"\n'),
        ("captions.csv", 'caption,score,image\na dog,1,7\n"two cats, or “three”",2,8\n'),
    ],
)
def test_candidates_are_equal_in_every_format(tmp_path: Path, name: str, content: object) -> None:
    assert read_candidates(write(tmp_path, name, content)) == CAPTIONS


COCO = {
    "images": [
        {"id": 7, "file_name": "x7.jpg"},
        {"id": 8, "file_name": "x8.jpg"},
        {"id": 9, "file_name": "x9.jpg"},
    ],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "a dog"},
        {"image_id": 8, "id": 2, "caption": "cats"},
        {"image_id": 7, "id": 3, "caption": "one dog"},
    ],
}
KARPATHY = {
    "images": [
        {
            "cocoid": 7,
            "filename": "x7.jpg",
            "split": "test",
            "sentences": [{"raw": "a dog"}, {"raw": "one dog"}],
        },
        {"cocoid": 8, "filename": "x8.jpg", "split": "test", "sentences": [{"raw": "cats"}]},
        {"cocoid": 9, "filename": "x9.jpg", "split": "train", "sentences": [{"raw": "no"}]},
    ]
}
BY_ID = {"7": ["a dog", "one dog"], "8": ["cats"]}
BY_FILE = {"x7.jpg": ["a dog", "one dog"], "x8.jpg": ["cats"]}


def test_coco_references_are_named_by_id_and_file(tmp_path: Path) -> None:
    assert read_references(write(tmp_path, "a.json", COCO)) == [BY_ID, BY_FILE]


def test_karpathy_references_are_named_by_id_and_file_in_one_split(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", KARPATHY)
    assert read_references(path, "test")[:2] == [BY_ID, BY_FILE]
    assert set(read_references(path)[0]) == {"7", "8", "9"}
    with pytest.raises(UsageError, match=r"split=val .*a\.json.*test, train"):
        read_references(path, "val")


def test_token_files_and_lines_give_references(tmp_path: Path) -> None:
    token = write(tmp_path, "x.token.txt", "x7.jpg#0\ta dog\nx7.jpg#1\tone dog\r\nx8.jpg#0\tcats\n")
    lines = write(
        tmp_path,
        "x.jsonl",
        "".join(json.dumps({"image": i, "caption": c}) + "\n" for i, cs in BY_FILE.items() for c in cs),
    )
    assert read_references(token) == read_references(lines) == [BY_FILE]


def test_names_are_matched_by_id_file_or_path() -> None:
    for candidates in ({"7": "x"}, {"x7.jpg": "x"}, {"photos/x7.jpg": "x"}, {"/a/b/x7.jpg": "x"}):
        [matched], references = match_names([candidates], [BY_ID, BY_FILE])
        assert next(iter(matched)) in references
    assert match_names([{"z": "x"}], [BY_ID, BY_FILE]) == ([{"z": "x"}], BY_ID)
    with pytest.raises(DataError, match=r"several .*x7\.jpg"):
        match_names([{"a/x7.jpg": "x", "b/x7.jpg": "y"}], [BY_FILE])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"image_id": 7, "capt', r"a\.json .*line 1, column 18"),
        ("a.jsonl", LINES + '{"image": "9", ', r"a\.jsonl .*line 3, column \d+"),
        ("a.json", "[" * 100_000, "nested too deeply|not valid JSON"),
        ("a.json", [{"image_id": 7, "caption": None}], "image 7 is None"),
        ("a.json", [{"image_id": 7, "caption": 3}], "image 7 is 3"),
        ("a.json", [{"image_id": None, "caption": "x"}], "entry 1: image_id is None"),
        ("a.json", [{"caption": "x"}], "entry 1 lacks image_id or caption"),
        ("a.json", ["x"], "entry 1 lacks image_id or caption"),
        ("a.json", [], r"a\.json has no caption"),
        ("a.json", {"info": 1}, "JSON object without annotations"),
        ("a.json", COCO, r"a\.json has references, not candidates"),
        (
            "a.json",
            [{"image_id": 7, "caption": "x"}, {"image_id": "7", "caption": "y"}],
            r"more than one caption .*\(7\)",
        ),
        ("a.csv", "name,text\n1,x\n", r"a\.csv has no header .*image,caption"),
        ("a.csv", 'image,caption\n1,"a dog\n', r"a\.csv is not valid CSV"),
        ("a.txt", "hello\n", r"a\.txt, line 1 .*'hello'"),
        ("a.txt", "", r"a\.txt has no caption"),
    ],
)
def test_a_malformed_file_of_candidates_is_refused_with_the_place(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_candidates(write(tmp_path, name, content))


def test_a_file_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json cannot be read"):
        read_candidates(tmp_path / "nowhere.json")
    (tmp_path / "latin.csv").write_bytes("image,caption\n1,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.csv is not UTF-8 at byte 19"):
        read_candidates(tmp_path / "latin.csv")


def test_references_without_captions_and_images_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json has no reference"):
        read_references(write(tmp_path, "none.json", {"images": [], "annotations": []}))
    twice = {**COCO, "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]}
    with pytest.raises(DataError, match=r"twice\.json .*id 7"):
        read_references(write(tmp_path, "twice.json", twice))


def test_a_split_of_a_file_without_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"split=test .*a\.jsonl"):
        read_references(write(tmp_path, "a.jsonl", LINES), "test")
