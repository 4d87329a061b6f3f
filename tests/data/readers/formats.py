"""One small data set in the format of every reader, and its expected content."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.data.readers.captioned_folder import CaptionedFolder
from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.flickr8k import Flickr8k
from captioner.data.readers.flickr30k import Flickr30k
from captioner.data.readers.karpathy import Karpathy
from captioner.data.readers.table_reader import Table
from captioner.data.samples import CaptionDataset

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


def prepared(root: Path, name: str, change: Callable[[bytes], bytes] = lambda data: data) -> Format:
    """The format written below `root`, its file changed."""
    kind = FORMATS[name]
    kind.write(root, TRAIN, VAL)
    path = root / kind.file
    path.write_bytes(change(path.read_bytes()))
    return kind


def captions_of(data: CaptionDataset) -> Captions:
    return {data[i].path.name: list(data[i].captions) for i in range(len(data))}  # type: ignore[union-attr]


NAMES_PHOTOS = [name for name in ALL if name != "folder"]
