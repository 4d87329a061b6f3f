"""Findings of `captioner.doctor` in faulty and sound data sets."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Finished

Rows = list[tuple[str, str, str]]


def picture(seed: int, side: int = 96) -> Image.Image:
    """Soft blobs: unlike any other seed's."""
    blobs = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC)


def write_table(root: Path, rows: Rows, more: bytes = b"") -> None:
    lines = ["image,caption,split", *(f'{name},"{caption}",{split}' for name, caption, split in rows)]
    (root / "captions.csv").write_bytes("".join(f"{line}\n" for line in lines).encode() + more)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    root = tmp_path / "clean"
    (root / "images").mkdir(parents=True)
    rows: Rows = []
    for number, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        picture(number).save(root / "images" / f"{number}.jpg")
        rows.append((f"{number}.jpg", f"A dog and {number} cats play.", split))
    write_table(root, rows)
    return root


@pytest.fixture
def ill(clean: Path) -> Path:
    """All that can be wrong."""
    photos = clean / "images"
    rows: Rows = [(f"{n}.jpg", f"A dog and {n} cats.", "train" if n < 6 else "val") for n in range(8)]
    data = (photos / "0.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(data[: len(data) // 2])
    (photos / "empty.jpg").touch()
    (photos / "page.jpg").write_text("<!doctype html><script>alert(1)</script>")
    (photos / "copy of 6.jpg").write_bytes((photos / "6.jpg").read_bytes())
    picture(7, 60).save(photos / "small 7.jpg", quality=70)
    (photos / "twin.jpg").write_bytes((photos / "1.jpg").read_bytes())
    picture(2, 70).save(photos / "like 2.jpg", quality=70)
    picture(20).convert("L").save(photos / "grey.jpg")
    picture(21).convert("CMYK").save(photos / "cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(22).save(photos / "turned.jpg", exif=turned)
    picture(23).save(photos / "moving.gif", save_all=True, append_images=[picture(24)])
    names = [
        "cut.jpg",
        "empty.jpg",
        "page.jpg",
        "copy of 6.jpg",
        "small 7.jpg",
        "twin.jpg",
        "like 2.jpg",
        "grey.jpg",
    ]
    rows += [(name, f"Photo {name} <b>here</b>.", "train") for name in [*names, "cmyk.jpg", "turned.jpg"]]
    rows += [("moving.gif", "It moves.", "train"), ("gone.jpg", "A lost photo.", "train")]
    rows += [("3.jpg", " ", "train"), ("3.jpg", "...", "train"), ("3.jpg", "word " * 41, "train")]
    rows += [("4.jpg", "Собака бежит по траве.", "train"), ("4.jpg", "a DOG and 4 cats", "train")]
    rows += [(f"{n}.jpg", "A common thing.", "train") for n in range(5)]
    write_table(clean, rows, b"../out.jpg,up,train\nbad.jpg,caf\xe9,train\n8.jpg,,train\n")
    return clean


@pytest.fixture
def examine(
    command: Callable[..., Finished], tmp_path: Path
) -> Callable[..., tuple[Finished, list[dict[str, Any]]]]:
    def call(root: Path, *overrides: str) -> tuple[Finished, list[dict[str, Any]]]:
        folder = tmp_path / "report"
        done = command(
            "doctor", "data=table", f"data.root={root}", f"output_dir={folder}", "data.split_column=split",
            "processes=1", *overrides,
        )  # fmt: skip
        file = folder / "findings.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return done, [json.loads(line) for line in lines]

    return call


def test_a_dataset_without_fault_ends_with_status_0(clean: Path, examine: Any, tmp_path: Path) -> None:
    done, findings = examine(clean)
    assert (done.status, findings) == (0, [])
    assert "table: Nothing serious; no findings" in done.out
    assert "train  6 images, 6 captions" in done.out
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.html", "report.txt", "findings.jsonl", ".not-photos",
    }  # fmt: skip


def test_everything_that_is_wrong_is_found(ill: Path, examine: Any, tmp_path: Path) -> None:
    done, findings = examine(ill)
    assert done.status == 1
    found: dict[str, list[list[str]]] = {}
    for finding in findings:
        found.setdefault(finding["kind"], []).append(sorted(photo["name"] for photo in finding["photos"]))
    assert found["unopened"] == [[]]  # no row is in the test split
    assert len(found["faulty"]) == 2
    assert found["missing"] == [["gone.jpg"]]
    assert found["unreadable"] == [["cut.jpg"], ["empty.jpg"], ["page.jpg"]]
    assert found["leak_file"] == [["6.jpg", "copy of 6.jpg"]]
    assert found["leak"] == [["7.jpg", "small 7.jpg"]]
    assert found["duplicate"] == [["1.jpg", "twin.jpg"]]
    assert found["near_duplicate"] == [["2.jpg", "like 2.jpg"]]
    assert [finding["detail"] for finding in findings if finding["kind"] == "mode"] == [
        "grey",
        "CMYK",
        "palette",
    ]
    assert found["turned"] == [["turned.jpg"]]
    assert found["animated"] == [["moving.gif"]]
    assert len(found["uncaptioned"]) == 1  # 8.jpg
    assert Counter(finding["count"] for finding in findings if finding["kind"] == "empty") == {1: 1, 2: 1}
    assert found["long"] == [["3.jpg"]]
    assert found["script"] == found["repeated"] == [["4.jpg"]]
    assert [finding["detail"] for finding in findings if finding["kind"] == "common"] == [
        "5 photos: a common thing"
    ]
    output = " ".join(done.out.split())
    line = 1 + sum(1 for _ in (ill / "captions.csv").open("rb")) - 3
    assert f"captions.csv:{line}: photo '../out.jpg' lies outside the photo folder" in output
    assert f"captions.csv:{line + 1} is not UTF-8: byte 0xe9" in output
    assert "train: page.jpg — is a web page" in output
    assert (tmp_path / "report" / "report.txt").read_text(encoding="utf-8") in done.out


def test_the_page_shows_the_findings_without_scripts(ill: Path, examine: Any, tmp_path: Path) -> None:
    (ill / "images" / "0.jpg").rename(ill / "images" / "<img src=x onerror=alert(1)>.jpg")
    table = (ill / "captions.csv").read_bytes().replace(b"\n0.jpg,", b"\n<img src=x onerror=alert(1)>.jpg,")
    (ill / "captions.csv").write_bytes(table.replace(b"word word", b"<script>alert(1)</script> word", 1))
    done, _ = examine(ill, "script=Cyrillic")
    assert done.status == 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert" in page
    assert "<img src=x" not in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert page.count("data:image/jpeg") >= 10
    with Image.open(tmp_path / "report" / "contact_sheet.jpg") as sheet:
        assert sheet.width > 900
        assert sheet.height > 1500


def test_several_processes_find_the_same(ill: Path, examine: Any) -> None:
    assert examine(ill, "processes=2")[1] == examine(ill)[1]


def test_a_frequent_caption_is_reported_with_its_count(clean: Path, examine: Any) -> None:
    rows = [(f"{number}.jpg", "the same", "train") for number in range(4)]
    write_table(clean, [*rows, ("8.jpg", "the", "val"), ("9.jpg", "new words", "test")])
    done, findings = examine(clean, "photos_per_caption=4")
    assert done.status == 0
    assert [finding["detail"] for finding in findings] == ["4 photos: the same"]
    assert "Nothing serious; 1 kind" in done.out
    last = next(line for line in done.out.splitlines() if line.split()[:2] == ["2", "4"])
    assert last.split()[2:] == ["0.00%", "0.00%", "100.00%"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.root=no where"],
            "error: root of the table: no where does not exist",
        ),
        (["splits=weekday"], "error: split weekday is not one of this dataset's: train, val, test"),
        (["max_words=0"], "error: max_words=0 must be at least 1"),
        (["processes=0"], "error: processes=0 must be a whole number of at least 1, or null"),
    ],
)
def test_wrong_usage_ends_with_status_2(
    clean: Path, examine: Any, overrides: list[str], message: str
) -> None:
    done, _ = examine(clean, *overrides)
    assert done.status == 2
    assert message in done.err


@pytest.mark.real
def test_the_findings_in_flickr8k(real_data: Path, command: Callable[..., Finished], tmp_path: Path) -> None:
    done = command(
        "doctor",
        "data=flickr8k",
        f"data.root={real_data / 'flickr8k'}",
        f"output_dir={tmp_path}",
        "splits=val",
    )
    assert done.status == 1
    assert "2258277193_586949ec62.jpg.1" in done.out
    assert "val    1,000 images, 5,000 captions" in done.out


def test_shards_are_inspected_as_photos_in_a_folder(tmp_path: Path, command: Any) -> None:
    first, second = tmp_path / "train-0.tar", tmp_path / "train-1.tar"
    write_shard_of(first, {"a": ["A dog."], "b": ["A dog runs.", " "], "c": [" "], "d": ["Two dogs."]})
    write_shard_of(second, {"a": ["A cat."], "b": ["A cat sits."], "c": ["A cow."]}, mode="CMYK")
    second.write_bytes(second.read_bytes()[:-11_000])
    done = command(
        "doctor", "data=shards", f"data.root={tmp_path}", f"output_dir={tmp_path / 'report'}", "processes=1",
        "splits=train",
    )  # fmt: skip
    assert done.status == 1
    found = [json.loads(line) for line in (tmp_path / "report" / "findings.jsonl").read_text().splitlines()]
    details = {(finding["kind"], finding["detail"]): finding["count"] for finding in found}
    assert ("mode", "CMYK") in details
    assert details["uncaptioned", "train: 1"] == 1
    assert details["empty", "train: 2"] == 2
    (cut,) = [detail for kind, detail in details if kind == "faulty" and "truncated" in detail]
    assert "train-1.tar is truncated within member" in cut
    assert "its first 1 samples are read" in cut
    assert "(left out: 2 empty captions, 1 image without caption, 1 faulty entry)" in done.out


def test_one_id_in_two_shards_is_reported(tmp_path: Path, command: Any) -> None:
    for number in range(2):
        write_shard_of(tmp_path / f"train-{number}.tar", {"a": [f"A dog {number}."]}, own="same")
    done = command(
        "doctor", "data=shards", f"data.root={tmp_path}", f"output_dir={tmp_path / 'report'}", "processes=1",
        "splits=train",
    )  # fmt: skip
    assert done.status == 1
    assert "train: same, train: same — one id for several photos" in done.out


def write_shard_of(
    path: Path, captions: dict[str, list[str]], *, mode: str = "RGB", own: str | None = None
) -> None:
    """A shard of random photos, all of them with the id `own` where one is given."""
    with tarfile.open(path, "w") as tar:
        for seed, key in enumerate(captions):
            photo = io.BytesIO()
            picture(seed + 100 * len(captions)).convert(mode).save(photo, "JPEG")
            record = {"captions": captions[key], **({"id": own} if own else {})}
            for suffix, content in (("jpg", photo.getvalue()), ("json", json.dumps(record).encode())):
                info = tarfile.TarInfo(f"{seed}{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
