from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.shards.scene_shards import SCENES, SIZE, SMALL, prepare, write


def test_webdataset_reads_the_shards(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, folder.glob("*.tar")))
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert len(theirs) == SIZE
    for index, sample in enumerate(theirs):
        assert sample["json"]["captions"] == list(SCENES[index].captions)
        np.testing.assert_array_equal(sample["png"], SCENES.photo(index).pixels)


def test_the_bytes_depend_on_the_dataset_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train-000003.tar").write_bytes(b"there already")
    for number in (2, 0):
        write(tmp_path, number)
        name = f"train-{number:06d}.tar"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_second_run_keeps_existing_shards_and_refuses_other_data(prepared: Path) -> None:
    before = {path.name: path.read_bytes() for path in prepared.iterdir()}
    (prepared / "train-000001.tar").unlink()
    (prepared / "index.json").unlink()
    arguments = ("--splits", "train,val", "--out", str(prepared))
    again = prepare("data=scenes", *SMALL, "--per-shard", "7", "--processes", "2", *arguments)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in prepared.iterdir()} == before
    other = prepare("data=scenes", *SMALL, "--per-shard", "8", *arguments)
    assert other.returncode == 2
    assert other.stderr.startswith(f"error: {prepared} contains train shards of other data")


def test_omissions_are_reported_in_every_run_and_edited_captions_are_detected(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "images").mkdir(parents=True)
    rows = ["image,caption,split", "gone.png,A dog.,train", "a.png,A dog.,train,too", "a.png,One dog.,train"]
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(root / "images" / f"{name}.png")
    (root / "images" / "page.png").write_text("<html>")
    rows += ["b.png,A cow.,train", "page.png,A page.,train"]
    (root / "captions.csv").write_text("\n".join(rows))
    arguments = (
        "data=table", f"data.root={root}", "data.split_column=split", "data.on_bad=skip", "--on-bad", "skip",
        "--splits", "train", "--out", str(out),
    )  # fmt: skip
    for _ in range(2):
        done = prepare(*arguments)
        assert done.returncode == 0, done.stderr
        assert "2 samples in 1 shards" in done.stdout
        assert "1 unreadable photos left out" in done.stdout
        assert "skipped: " in done.stderr
        assert "page.png is a web page" in done.stderr
        assert "captions.csv:3: 4 columns, and 3 in the header" in done.stderr
        assert "1 image not in the folder, 1 caption without image, 1 faulty entry)" in done.stderr
    (root / "captions.csv").write_text("\n".join(rows).replace("cow", "cat"))
    again = prepare(*arguments)
    assert again.returncode == 2
    assert "captions before an edit" in again.stderr
