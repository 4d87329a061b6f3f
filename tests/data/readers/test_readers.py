"""Equivalence of all readers: the same samples from the same data, and the same handling of faults."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.data.open import open_split
from captioner.data.readers.table_reader import Table
from captioner.errors import DataError, ImageError
from tests.conftest import compose
from tests.data.readers.formats import (
    ALL,
    FORMATS,
    NAMES_PHOTOS,
    ROWS,
    TRAIN,
    VAL,
    Captions,
    captions_of,
    lines,
    prepared,
)


@pytest.mark.parametrize("name", ALL)
def test_every_format_gives_the_same_samples(root: Path, name: str) -> None:
    data = prepared(root, name).read(root)
    assert captions_of(data) == TRAIN
    assert data.photo(1).size == (5, 6)
    assert data.report.summary() == "2 images, 3 captions"  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(data))[0] == data[0]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "change",
    [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n")],
    ids=["byte order mark", "Windows line ends"],
)
def test_byte_order_marks_and_windows_line_ends_are_accepted(
    root: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    assert captions_of(prepared(root, name, change).read(root)) == TRAIN


def replace(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old.encode(), new.encode(), 1)


LATIN = (
    lambda data: data.replace("à".encode(), b"\xe0", 1),
    r"is not UTF-8: byte 0xe0.+save the file as UTF-8",
)
OUT = (
    replace("b.jpg", "../b.jpg"),
    r"photo '\.\./b\.jpg' lies outside the photo folder; name a path inside it",
)
ABSOLUTE = (replace("b.jpg", "/b.jpg"), r"photo '/b\.jpg' lies outside")
CUT = (lambda data: data[: data.index(b"A cat") + 3], r"not JSON")
FAULTS: dict[str, tuple[list[str], Callable[[bytes], bytes], str, Captions | None]] = {
    # fault: formats, change, message, captions left if it is skipped (None: it is not skipped)
    "encoding": (ROWS, *LATIN, {"a.jpg": TRAIN["a.jpg"][:1], "b.jpg": TRAIN["b.jpg"]}),
    "encoding of a whole file": (["coco", "karpathy"], *LATIN, None),
    "encoding of a text file": (["folder"], *LATIN, {"b.jpg": TRAIN["b.jpg"]}),
    "UTF-16": (
        NAMES_PHOTOS,
        lambda data: data.decode().encode("utf-16"),
        r"is not UTF-8 but UTF-16",
        None,
    ),
    "UTF-16 in one of the text files": (
        ["folder"],
        lambda data: data.decode().encode("utf-16"),
        r"a\.txt is not UTF-8 but UTF-16",
        {"b.jpg": TRAIN["b.jpg"]},
    ),
    "..": (NAMES_PHOTOS, *OUT, {"a.jpg": TRAIN["a.jpg"]}),
    "absolute": (NAMES_PHOTOS, *ABSOLUTE, {"a.jpg": TRAIN["a.jpg"]}),
    "missing column": (
        ["csv", "tsv"],
        replace("caption", "text"),
        r"captions\.\wsv:1: no column 'caption'; there are image, text, split",
        None,
    ),
    "missing key": (
        ["jsonl"],
        replace('"caption"', '"text"'),
        r"captions\.jsonl:1: no column 'caption'; there are image, text, split",
        {"a.jpg": TRAIN["a.jpg"][1:], "b.jpg": TRAIN["b.jpg"]},
    ),
    "missing list": (["coco", "karpathy"], replace('"images"', '"photos"'), r"has no list 'images'", None),
    "missing field of an entry": (
        ["coco"],
        replace('"file_name": "b.jpg"', '"name": "b.jpg"'),
        r"train2017\.json:1: images\[1\] has no file_name",
        {"a.jpg": TRAIN["a.jpg"]},
    ),
    "missing sentences": (
        ["karpathy"],
        replace('"split": "train", "sentences"', '"split": "train", "texts"'),
        r"flickr8k\.json:1: images\[0\] has no list 'sentences'",
        {"b.jpg": TRAIN["b.jpg"]},
    ),
    "cut short": (["coco", "karpathy"], *CUT, None),
    "line cut short": (
        ["jsonl"],
        replace(', "split": "train"}\n{"image": "b.jpg"', '\n{"image": "b.jpg"'),
        r"captions\.jsonl:2: not JSON",
        {"a.jpg": TRAIN["a.jpg"][:1], "b.jpg": TRAIN["b.jpg"]},
    ),
    "too many columns": (
        ["kaggle", "csv", "tsv"],
        lambda data: data.replace(b'"A cat."', b'"A cat.",x,y' if b"\t" not in data else b'"A cat."\tx\ty'),
        r":4: \d columns, and \d in the header",
        {"a.jpg": TRAIN["a.jpg"]},
    ),
    "no separator": (
        ["token", "token30k", "bars"],
        lambda data: data.replace(b"b.jpg#0\t", b"b.jpg 0 ").replace(b"b.jpg| 0| ", b"b.jpg 0 "),
        r":\d: expected name\.jpg",
        {"a.jpg": TRAIN["a.jpg"]},
    ),
    "two photos with one name": (
        ["coco"],
        replace('"file_name": "b.jpg"', '"file_name": "a.jpg"'),
        r"images\[1\] is a second image of the photo a\.jpg, after id 1",
        {"a.jpg": TRAIN["a.jpg"]},
    ),
    "two entries with one name": (
        ["karpathy"],
        replace('"filename": "b.jpg"', '"filename": "a.jpg"'),
        r"images\[1\] is a second photo called a\.jpg",
        {"a.jpg": TRAIN["a.jpg"]},
    ),
    "one photo in two splits": (
        ["csv", "tsv", "jsonl"],
        lambda data: data.replace(b"c.jpg", b"b.jpg", 1),
        r":\d: photo b\.jpg is in val, and in train by an earlier row; give it one split",
        TRAIN,
    ),
    "no caption at all": (
        ["token", "token30k", "kaggle", "bars", "jsonl", "coco", "karpathy"],
        lambda data: b"{}" if data.startswith(b"{") and b'"images"' in data else b"",
        r"has no caption for any of the 2 photos|holds none of the 0|has no list 'images'",
        None,
    ),
}
CASES = [
    pytest.param(name, change, message, left, id=f"{fault}-{name}")
    for fault, (names, change, message, left) in FAULTS.items()
    for name in names
]


@pytest.mark.parametrize(("name", "change", "message", "left"), CASES)
def test_a_fault_is_named_with_its_file_and_stops_or_is_skipped_and_counted(
    root: Path, name: str, change: Callable[[bytes], bytes], message: str, left: Captions | None
) -> None:
    kind = prepared(root, name, change)
    with pytest.raises(DataError, match=message) as stopped:
        kind.read(root)
    assert str(root) in str(stopped.value)
    if left is None:
        with pytest.raises(DataError, match=message):
            kind.read(root, on_bad="skip")
        return
    data = kind.read(root, on_bad="skip")
    assert captions_of(data) == left
    report: Any = data.report  # type: ignore[attr-defined]
    assert report.faults == len(report.messages) >= 1
    assert "faulty entr" in report.summary()
    assert str(root) in report.messages[0]


@pytest.mark.parametrize("name", ALL)
def test_a_split_without_photos_is_an_error_whatever_is_skipped(root: Path, name: str) -> None:
    kind = FORMATS[name]
    kind.write(root, {}, VAL)
    for on_bad in ("stop", "skip"):
        with pytest.raises(DataError, match=r"none of the 0 |contains no photo"):
            kind.read(root, on_bad=on_bad)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"b\.jpg is empty \(0 bytes\)"), (b"<!doctype html><p>404", r"b\.jpg is a web page")],
)
def test_an_unreadable_photo_is_named_when_it_is_requested(
    root: Path, name: str, content: bytes, message: str
) -> None:
    (root / "images" / "b.jpg").write_bytes(content)
    data = prepared(root, name).read(root)
    assert data.photo(0).size == (4, 6)
    with pytest.raises(ImageError, match=message):
        data.photo(1)


@pytest.mark.parametrize("name", ALL)
def test_a_link_out_of_the_root_is_not_followed_unless_allowed(root: Path, name: str) -> None:
    (root / "images" / "b.jpg").rename(root.parent / "secret.jpg")
    (root / "images" / "b.jpg").symlink_to(root.parent / "secret.jpg")
    kind = prepared(root, name)
    with pytest.raises(DataError, match=r"b\.jpg is a link to .+secret\.jpg, outside data\.root"):
        kind.read(root)
    assert captions_of(kind.read(root, on_bad="skip")) == {"a.jpg": TRAIN["a.jpg"]}
    assert captions_of(kind.read(root, allow_outside=True)) == TRAIN


@pytest.mark.parametrize("name", NAMES_PHOTOS)
def test_names_outside_the_root_are_read_only_when_allowed(root: Path, name: str) -> None:
    (root / "images" / "b.jpg").rename(root.parent / "secret.jpg")
    kind = prepared(root, name, lambda data: data.replace(b"b.jpg", b"../../secret.jpg"))
    if name.startswith(("token", "kaggle", "bars")):
        for file in ("train.txt", "Flickr_8k.trainImages.txt"):
            lines(root, file, ["a.jpg", "../../secret.jpg"])
    with pytest.raises(DataError, match=r"secret\.jpg' lies outside .+ allow it by data\.allow_outside=true"):
        kind.read(root)
    data = kind.read(root, allow_outside=True)
    assert captions_of(data) == {"a.jpg": TRAIN["a.jpg"], "secret.jpg": TRAIN["b.jpg"]}
    assert data.photo(1).size == (5, 6)


INSIDE = [
    *((name, "images") for name in ALL),
    *((name, kind.file) for name, kind in FORMATS.items() if name != "folder"),
    *(("token", "Flickr_8k.trainImages.txt"), ("token30k", "train.txt"), ("folder", "train.txt")),
]


@pytest.mark.parametrize(("name", "inside"), INSIDE)
def test_files_and_folders_outside_the_root_are_read_only_when_allowed(
    root: Path, name: str, inside: str
) -> None:
    kind = prepared(root, name)
    outside = root.parent / "outside" / Path(inside).name
    outside.parent.mkdir(exist_ok=True)
    (root / inside).rename(outside)
    (root / inside).symlink_to(outside)
    message = r"which leads to \S+outside\S+, lies outside data\.root=.+ allow it by data\.allow_outside=true"
    with pytest.raises(DataError, match=message):
        kind.read(root)
    assert captions_of(kind.read(root, allow_outside=True)) == TRAIN


@pytest.mark.parametrize("absolute", [False, True])
def test_settings_may_not_lead_out_of_the_root_either(root: Path, absolute: bool) -> None:
    kind = prepared(root, "csv")
    (root.parent / "out").mkdir()
    for name in ("captions.csv", "images"):
        (root / (kind.file if name != "images" else name)).rename(root.parent / "out" / name)
    out = str(root.parent / "out") if absolute else "../out"
    settings: dict[str, Any] = {"captions": f"{out}/captions.csv", "images": f"{out}/images"}
    with pytest.raises(DataError, match=r"the table: \S+captions\.csv\S* \S*.*lies outside data\.root="):
        Table(root, "train", split_column="split", **settings)
    assert len(Table(root, "train", split_column="split", allow_outside=True, **settings)) == 2


REACHED = {
    "flickr8k": ("token", []),
    "flickr30k": ("bars", []),
    "table": ("csv", ["data.split_column=split"]),
    "jsonl": ("jsonl", ["data.split_column=split", "data.images=images"]),
    "coco": ("coco", []),
    "karpathy": ("karpathy", []),
    "folder": ("folder", ["data.split_by=lists", "data.images=images"]),
}


@pytest.mark.parametrize("option", REACHED)
def test_every_reader_is_reached_by_its_name_and_takes_its_settings(root: Path, option: str) -> None:
    name, settings = REACHED[option]
    prepared(root, name)
    if option == "coco":  # one file a photo folder, as COCO has it
        for part in ("train2017", "val2017"):
            (root / part).symlink_to(root / "images")  # which stays inside
    lines(root, "val.txt", list(VAL))
    data = compose("evaluate", f"data={option}", f"data.root={root}", "data.on_bad=skip", *settings).data
    assert captions_of(open_split(data, "train")) == TRAIN
    assert captions_of(open_split(data, "val")) == VAL
