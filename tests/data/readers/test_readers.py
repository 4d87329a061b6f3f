"""Do all readers give the same samples of the same data, and meet the same faults alike?"""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.data.open import open_split
from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.flickr8k import Flickr8k
from captioner.data.readers.flickr30k import Flickr30k
from captioner.data.readers.folder import CaptionedFolder
from captioner.data.readers.huggingface import HuggingFace
from captioner.data.readers.karpathy import Karpathy
from captioner.data.readers.table_reader import Table
from captioner.data.samples import CaptionDataset
from captioner.errors import DataError, ImageError, UsageError
from tests.conftest import compose

TRAIN = {"a.jpg": ["A dog, running.", "Un chien à la plage."], "b.jpg": ["A cat."]}
VAL = {"c.jpg": ["A red kite.", "A kite in the sky."]}
Captions = dict[str, list[str]]


@dataclass(frozen=True)
class Format:
    """One way to write captions down.

    Attributes:
        write: Writes the captions of both splits below a root whose `images/` holds the photos.
        read: Opens the training split.
        file: What `write` writes and faults are put into, below the root.
        rows: Whether the file has a line for each caption, so that one line can be skipped.
    """

    write: Callable[[Path, Captions, Captions], None]
    read: Callable[..., CaptionDataset]
    file: str
    rows: bool


def lines(root: Path, name: str, text: list[str]) -> None:
    (root / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8", newline="")


def pairs(captions: Captions) -> list[tuple[str, int, str]]:
    return [(name, number, text) for name, texts in captions.items() for number, text in enumerate(texts)]


def write_token(root: Path, train: Captions, val: Captions, name: str = "Flickr8k.token.txt") -> None:
    lines(root, name, [f"{photo}#{number}\t{text}" for photo, number, text in pairs({**train, **val})])
    for split, short in (("train", "train"), ("dev", "val")):
        names = list(train if split == "train" else val)
        lines(root, f"Flickr_8k.{split}Images.txt", names)
        lines(root, f"{short}.txt", [photo.removesuffix(".jpg") for photo in names])


def write_kaggle(root: Path, train: Captions, val: Captions) -> None:
    write_token(root, train, val)
    (root / "Flickr8k.token.txt").unlink()
    rows = [f'{photo},"{text}"' for photo, _, text in pairs({**train, **val})]
    lines(root, "captions.txt", ["image,caption", *rows])


def write_token30k(root: Path, train: Captions, val: Captions) -> None:
    write_token(root, train, val, "results_20130124.token")


def write_bars(root: Path, train: Captions, val: Captions) -> None:
    write_token(root, train, val)
    (root / "Flickr8k.token.txt").unlink()
    rows = [f"{photo}| {number}| {text}" for photo, number, text in pairs({**train, **val})]
    rows[-1] = rows[-1].replace("1| ", "1   ")  # as in the row that Kaggle's file really has
    lines(root, "results.csv", ["image_name| comment_number| comment", *rows])


def table_writer(name: str) -> Callable[[Path, Captions, Captions], None]:
    def write(root: Path, train: Captions, val: Captions) -> None:
        rows = [
            {"image": photo, "caption": text, "split": split}
            for split, part in (("train", train), ("val", val))
            for photo, _, text in pairs(part)
        ]
        if name.endswith("jsonl"):
            lines(root, name, [json.dumps(row, ensure_ascii=False) for row in rows])
        else:
            comma = "\t" if name.endswith("tsv") else ","
            cells = [[row["image"], f'"{row["caption"]}"', row["split"]] for row in rows]
            lines(root, name, [comma.join(row) for row in [["image", "caption", "split"], *cells]])

    return write


def table_reader(name: str) -> Callable[..., CaptionDataset]:
    def read(root: Path, **options: Any) -> CaptionDataset:
        return Table(root, "train", captions=name, split_column="split", **options)

    return read


def write_coco(root: Path, train: Captions, val: Captions) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    for split, captions in (("train", train), ("val", val)):
        ids = {photo: number for number, photo in enumerate(captions, start=1)}
        content = {
            "images": [{"id": number, "file_name": photo} for photo, number in ids.items()],
            "annotations": [
                {"id": place, "image_id": ids[photo], "caption": text}
                for place, (photo, _, text) in enumerate(pairs(captions))
            ],
        }
        lines(root, f"annotations/captions_{split}2017.json", [json.dumps(content, ensure_ascii=False)])


def write_karpathy(root: Path, train: Captions, val: Captions) -> None:
    images = [
        {"filename": photo, "split": split, "sentences": [{"raw": text} for text in texts]}
        for split, part in (("train", train), ("val", val))
        for photo, texts in part.items()
    ]
    lines(root, "dataset_flickr8k.json", [json.dumps({"images": images}, ensure_ascii=False)])


def write_folder(root: Path, train: Captions, val: Captions) -> None:
    for photo, texts in {**train, **val}.items():
        lines(root, f"images/{Path(photo).stem}.txt", texts)
    lines(root, "train.txt", list(train))


FORMATS = {
    "token": Format(write_token, lambda root, **o: Flickr8k(root, "train", **o), "Flickr8k.token.txt", True),
    "kaggle": Format(write_kaggle, lambda root, **o: Flickr8k(root, "train", **o), "captions.txt", True),
    "token30k": Format(
        write_token30k, lambda root, **o: Flickr30k(root, "train", **o), "results_20130124.token", True
    ),
    "bars": Format(write_bars, lambda root, **o: Flickr30k(root, "train", **o), "results.csv", True),
    **{
        kind: Format(
            table_writer(f"captions.{kind}"), table_reader(f"captions.{kind}"), f"captions.{kind}", True
        )
        for kind in ("csv", "tsv", "jsonl")
    },
    "coco": Format(
        write_coco,
        lambda root, **o: CocoCaptions(root, "train", images="images", **o),
        "annotations/captions_train2017.json",
        False,
    ),
    "karpathy": Format(
        write_karpathy, lambda root, **o: Karpathy(root, "train", **o), "dataset_flickr8k.json", False
    ),
    "folder": Format(
        write_folder,
        lambda root, **o: CaptionedFolder(root, "train", images="images", split_by="lists", **o),
        "images/a.txt",
        False,
    ),
}
ROWS = [name for name, kind in FORMATS.items() if kind.rows]
ALL = list(FORMATS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    for number, name in enumerate({**TRAIN, **VAL}):
        Image.new("RGB", (6, 4 + number), (40 * number, 0, 0)).save(root / "images" / name)
    return root


def prepared(root: Path, name: str, change: Callable[[bytes], bytes] = lambda data: data) -> Format:
    """The format written below `root`, its file changed."""
    kind = FORMATS[name]
    kind.write(root, TRAIN, VAL)
    path = root / kind.file
    path.write_bytes(change(path.read_bytes()))
    return kind


def captions_of(data: CaptionDataset) -> Captions:
    return {data[i].path.name: list(data[i].captions) for i in range(len(data))}  # type: ignore[union-attr]


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
def test_what_windows_writes_is_no_fault(root: Path, name: str, change: Callable[[bytes], bytes]) -> None:
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
NAMES_PHOTOS = [name for name in ALL if name != "folder"]
FAULTS: dict[str, tuple[list[str], Callable[[bytes], bytes], str, Captions | None]] = {
    # fault: formats, how it is made, what is said, what is left when it is skipped (None: it stops all the same)
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
        r":4: \d columns, and \d in the header; put what holds the separator in double quotes",
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
        with pytest.raises(DataError, match=r"none of the 0 |holds no photo"):
            kind.read(root, on_bad=on_bad)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"b\.jpg is empty \(0 bytes\)"), (b"<!doctype html><p>404", r"b\.jpg is a web page")],
)
def test_what_is_no_photo_is_named_when_it_is_asked_for(
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


def test_two_photos_cannot_share_one_text_file(root: Path) -> None:
    kind = prepared(root, "folder")
    Image.new("RGB", (3, 3)).save(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"a\.txt: a\.jpg and a\.png share this name"):
        kind.read(root)
    assert captions_of(kind.read(root, on_bad="skip")) == {"b.jpg": TRAIN["b.jpg"]}


def test_a_folder_may_have_a_folder_for_each_split(root: Path) -> None:
    for split, captions in (("train", TRAIN), ("val", VAL)):
        (root / "mine" / split).mkdir(parents=True)
        for name, texts in captions.items():
            (root / "images" / name).rename(root / "mine" / split / name)
            lines(root, f"mine/{split}/{Path(name).stem}.txt", texts)
    val = CaptionedFolder(root, "validation", images="mine", split_by="folders")
    assert [val[0].id, val[0].captions, len(val)] == ["val/c.jpg", tuple(VAL["c.jpg"]), 1]
    with pytest.raises(DataError, match=r"holds none of the 0 test photos"):
        CaptionedFolder(root, "test", images="mine", split_by="folders")


def test_restval_joins_the_training_split(root: Path) -> None:
    images = [
        {"filename": "a.jpg", "filepath": "sub", "cocoid": 5, "split": "train", "sentences": [{"raw": "A dog."}]},
        {"filename": "b.jpg", "filepath": "sub", "cocoid": 7, "split": "restval",
         "sentences": [{"tokens": ["a", "cat"]}]},
    ]  # fmt: skip
    (root / "dataset_coco.json").write_text(json.dumps({"images": images}))
    (root / "sub").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (root / "images" / name).rename(root / "sub" / name)
    train = Karpathy(root, "train")
    assert [(train[i].id, train[i].captions) for i in range(2)] == [("5", ("A dog.",)), ("7", ("a cat",))]
    assert train[1].path == root / "sub" / "b.jpg"
    assert len(Karpathy(root, "train", restval=False)) == 1
    assert Karpathy(root, "restval")[0].id == "7"
    with pytest.raises(UsageError, match="no split 'tset'; choose one of train, restval, val, test"):
        Karpathy(root, "tset")


def test_the_year_of_coco_can_be_chosen(root: Path) -> None:
    write_coco(root, TRAIN, VAL)
    for year in (2014, 2017):
        (root / "images" / f"val{year}").mkdir(parents=True)
        Image.new("RGB", (year - 2000, 3)).save(root / "images" / f"val{year}" / "c.jpg")
    source = root / "annotations" / "captions_val2017.json"
    (root / "annotations" / "captions_val2014.json").write_bytes(source.read_bytes())
    assert [CocoCaptions(root, "val", year=year).photo(0).size for year in (None, 2014)] == [(3, 17), (3, 14)]
    with pytest.raises(UsageError, match="year=2015 is not a year of COCO"):
        CocoCaptions(root, "val", year=2015)


def test_a_single_coco_file_can_be_split(root: Path) -> None:
    captions = {f"{number}.jpg": [f"number {number}"] for number in range(40)}
    for name in captions:
        (root / "images" / name).touch()
    write_coco(root, captions, {})
    (root / "annotations" / "captions_train2017.json").rename(root / "captions.json")
    parts = [CocoCaptions(root, split, split_by="hash") for split in ("train", "val", "test")]
    assert sorted(name for part in parts for name in captions_of(part)) == sorted(captions)
    assert {int(part[0].id) for part in parts} <= set(range(1, 41))  # COCO's own ids, in every part


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
    with pytest.raises(DataError, match=r"saved has no split test; there are train, validation"):
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
    with pytest.raises(
        DataError, match=r"no column 'image'; there are file, text, part, n: choose by image_column"
    ):
        HuggingFace(saved, "train")


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
    with pytest.raises(DataError, match=r"saved is no Hugging Face dataset that can be read"):
        HuggingFace(saved, "train")
    with pytest.raises(DataError, match=r"images is no Hugging Face dataset that can be read"):
        HuggingFace(root / "images", "train")


def test_rows_of_a_hugging_face_dataset_outside_the_root_are_read_only_when_allowed(root: Path) -> None:
    good = (root / "images" / "a.jpg").read_bytes()
    saved = save(root, {"image": [good], "caption": ["A dog."], "split": ["train"]})
    (part,) = saved.glob("*.arrow")
    part.rename(root / "elsewhere.arrow")
    part.symlink_to(root / "elsewhere.arrow")
    with pytest.raises(DataError, match=r"which leads to \S+elsewhere\.arrow, lies outside data\.root="):
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
    split_of = {}
    for split in ("train", "val", "test"):
        with contextlib.suppress(DataError):  # where so few photos leave a split empty
            data = HuggingFace(saved, split, split_by="content")
            split_of |= {data[index].captions[0]: split for index in range(len(data))}
    assert len(split_of) == 24
    assert all(split_of[f"number {n}"] == split_of[f"number {n + 1}"] for n in range(0, 24, 2))
    with pytest.raises(UsageError, match="split_by='name' is not known; choose hash or content"):
        HuggingFace(saved, "train", split_by="name")  # type: ignore[arg-type]


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


def test_a_hugging_face_dataset_is_reached_by_its_name(root: Path) -> None:
    saved = save(root, {"image": ["a.jpg"], "caption": ["A dog."], "split": ["train"]})
    (root / "images" / "a.jpg").rename(saved / "a.jpg")
    data = compose("train", "data=huggingface", f"data.root={saved}", "data.split_column=split").data
    assert captions_of(open_split(data, "train")) == {"a.jpg": ["A dog."]}
