from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.data.readers.table_reader import Table
from captioner.errors import DataError, UsageError

ROWS = [
    ("a.jpg", "a dog, running", "train"),
    ("b/c.jpg", "a cat", "val"),
    ("a.jpg", "a brown dog", "train"),
    ("d.jpg", "a \u2028 line", "train"),
    ("missing.jpg", "nothing", "train"),
    ("d.jpg", "  ", "train"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "b").mkdir(parents=True)
    for name in ("a.jpg", "b/c.jpg", "d.jpg"):
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def write(root: Path, name: str) -> None:
    if name.endswith("jsonl"):
        lines = [json.dumps({"file": file, "text": text, "part": part}) for file, text, part in ROWS]
    else:
        separator = "\t" if name.endswith("tsv") else ","
        lines = [
            separator.join((file, f'"{text}"', part))
            for file, text, part in [("file", "text", "part"), *ROWS]
        ]
        lines[0] = lines[0].replace('"', "")
    # With a byte order mark and Windows line ends.
    (root / name).write_bytes(("\ufeff" + "\r\n".join(lines)).encode())


def table(root: Path, split: str, name: str, **settings: str | None) -> Table:
    columns = {"image_column": "file", "caption_column": "text", "split_column": "part", **settings}
    return Table(root, split, captions=name, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl"])
def test_every_kind_gives_the_same_samples(root: Path, name: str) -> None:
    write(root, name)
    train, val = table(root, "train", name), table(root, "val", name)
    assert [(sample.id, sample.captions) for sample in (train[0], train[1])] == [
        ("a.jpg", ("a dog, running", "a brown dog")),
        ("d.jpg", ("a \u2028 line",)),
    ]
    assert len(train) == 2
    assert [val[0].id, val[0].captions, len(val)] == ["b/c.jpg", ("a cat",), 1]
    assert val.photo(0).pixels.shape == (8, 9, 3)
    assert train.report.summary() == (
        "2 images, 3 captions (left out: 1 image not in the folder, 1 caption without image, 1 empty caption)"
    )


def test_a_caption_may_be_a_list(root: Path) -> None:
    (root / "captions.jsonl").write_text(
        json.dumps({"file": "a.jpg", "text": ["one", "two"], "part": "train"})
    )
    assert table(root, "train", "captions.jsonl")[0].captions == ("one", "two")


def test_without_a_split_column_a_hash_splits_the_photos(root: Path) -> None:
    lines = ["image,caption"]
    for number in range(60):
        Image.new("RGB", (4, 4)).save(root / "images" / f"{number}.png")
        lines.append(f"{number}.png,number {number}")
    (root / "captions.csv").write_text("\n".join(lines))
    ids = [
        {sample.id for sample in map(part.__getitem__, range(len(part)))}
        for part in (Table(root, split) for split in ("train", "val", "test"))
    ]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 60
    assert len(ids[0]) > 35


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "file,text,part\na.jpg,dog\n", r"t.csv:2: 2 columns, and 3 in the header"),
        ("t.csv", "photo,text,part\na.jpg,dog,train\n", r"t.csv:1: no column 'file'; there are photo, text"),
        ("t.csv", 'file,text,part\na.jpg,"dog,train\n', r"t.csv:2: malformed table: unexpected end of data;"),
        ("t.csv", "file,text,part\n../a.jpg,dog,train\n", r"t.csv:2: photo '../a.jpg' lies outside"),
        (
            "t.tsv",
            "file\ttext\tpart\na.jpg\tdog\tspare\n",
            r"t.tsv:2: part is 'spare'; a split is train, val, test",
        ),
        ("t.jsonl", '{"file": "a.jpg"', r"t.jsonl:1: not JSON"),
        ("t.jsonl", "[1]", r"t.jsonl:1: a JSON list, not an object"),
        ("t.jsonl", '{"file": "a.jpg", "text": 3, "part": "train"}', r"t.jsonl:1: text is 3, not a text"),
        ("t.csv", "", r"holds none of the 0 train photos of \S*t.csv; set images"),
        ("t.csv", "file,text,part\nno.jpg,dog,train\n", r"none of the 1 train photos .* \(such as no.jpg\)"),
        ("t.csv", "file,text,part\na.jpg,,train\n", r"t.csv has no caption for any of the 1 train photos"),
        ("t.xlsx", "PK", r"t.xlsx .+\.csv, \.tsv or \.jsonl"),
    ],
)
def test_a_fault_is_reported_with_file_and_line(root: Path, name: str, text: str, message: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        table(root, "train", name)


def test_a_missing_table_and_an_unknown_split_are_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"captions\.csv.*captions"):
        Table(root, "train")
    with pytest.raises(UsageError, match=r"'all'.*train, val, test"):
        Table(root, "all")


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"split": "tests"}, "did you mean test"),
        ({"split_by": "contnet"}, "did you mean content"),
        ({"on_bad": "stpo"}, "did you mean stop"),
        ({"image_column": "fiel"}, "did you mean file"),
        ({"caption_column": "texts"}, "did you mean text"),
    ],
)
def test_a_misspelt_choice_names_the_nearest(root: Path, settings: dict[str, str], hint: str) -> None:
    for name in ("captions.csv", "captions.jsonl"):
        write(root, name)
        with pytest.raises(UsageError, match=hint):
            table(
                root,
                settings.get("split", "train"),
                name,
                **{k: v for k, v in settings.items() if k != "split"},
            )


def test_a_misspelt_split_in_the_table_names_the_nearest(root: Path) -> None:
    (root / "t.csv").write_text("file,text,part\na.jpg,dog,trian\n")
    with pytest.raises(DataError, match=r"part is 'trian'.+did you mean train"):
        table(root, "train", "t.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("others", "message"),
    [
        ("{n}.png,dog {n}", r"t.csv:11: malformed table: unexpected end of data \(.+ 51 lines"),
        (
            '{n}.png,"dog {n}"',
            r"t.csv:11: malformed table: ',' expected after '\"' \(.+ 2 lines",
        ),
    ],
)
def test_a_stray_quote_costs_one_row(root: Path, others: str, message: str, end: str) -> None:
    lines = ["image,caption", *(others.format(n=n) for n in range(60))]
    lines[10] = '9.png,"dog 9'
    (root / "t.csv").write_bytes((end.join(lines) + end).encode())
    for number in range(60):
        (root / "images" / f"{number}.png").touch()
    with pytest.raises(DataError, match=message):
        Table(root, "train", captions="t.csv")
    parts = [Table(root, split, captions="t.csv", on_bad="skip") for split in ("train", "val", "test")]
    found = {part[k].id: part[k].captions for part in parts for k in range(len(part))}
    assert found == {f"{n}.png": (f"dog {n}",) for n in range(60) if n != 9}
    assert all((part.report.faults, len(part.report.messages)) == (1, 1) for part in parts)


def test_a_text_of_several_lines_is_accepted_and_counts_as_several(root: Path) -> None:
    text = 'file,text,part\na.jpg,"a ""dog""\n\nruns",train\n\nd.jpg,"a, b\n",train,4\nd.jpg,cow,train\nd.jpg,x\n'
    (root / "t.csv").write_text(text)
    with pytest.raises(DataError, match=r"t\.csv:6: 4 columns.* 3 "):
        table(root, "train", "t.csv")
    data = table(root, "train", "t.csv", on_bad="skip")
    assert [data[0].captions, data[1].captions] == [('a "dog"\n\nruns',), ("cow",)]
    lines = [message.partition("t.csv:")[2][:2] for message in data.report.messages]
    assert lines == ["6:", "7:", "9:"]
