"""Bulk captioning: parts, shares, restarts and kills."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioner.data.scenes import Scenes
from captioner.errors import UsageError
from captioner.pipeline import load
from captioner.predict import predict
from tests.conftest import Finished, compose
from tests.training.rank_processes import forkserver

Command = Callable[..., Finished]
PHOTOS = 30
KILLS = int(os.environ.get("CAPTIONER_KILLS", "20"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos 00.jpg to 29.jpg, two of them bad, and a list of them."""
    folder = tmp_path_factory.mktemp("photos")
    scenes = Scenes("val", size=PHOTOS, image_size=40)
    for index in range(PHOTOS):
        Image.fromarray(scenes.photo(index).pixels).save(folder / f"{index:02d}.jpg", quality=90)
    (folder / "07.jpg").write_bytes(b"<html>not found</html>")
    (folder / "list.txt").write_text("".join(f"{index:02d}.jpg\n" for index in range(PHOTOS)))
    (folder / "22.jpg").unlink()
    return folder


def arguments(model: Path, images: str | Path, folder: Path, *more: str) -> tuple[str, ...]:
    return (
        f"model={model}", f"images='{images}'", f"output_dir={folder}", "bulk=true",
        "part_size=8", "batch_size=3", "beam_size=2", "max_length=8", "device=cpu", *more,
    )  # fmt: skip


def run(*given: Any) -> int:
    return predict(compose("predict", *arguments(*given)))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "parts").iterdir())}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for content in files(folder).values() for line in content.splitlines()]


@pytest.fixture(scope="module")
def whole(photos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(tiny_model, photos / "list.txt", folder) == 1
    return folder


def test_parts_hold_a_line_for_each_photo_in_order(photos: Path, whole: Path, tiny_model: Path) -> None:
    assert list(files(whole)) == [f"{number:08d}.jsonl" for number in range(4)]
    records = lines(whole)
    assert [Path(record["image"]).name for record in records] == [f"{n:02d}.jpg" for n in range(PHOTOS)]
    bad = {Path(record["image"]).name: record["error"] for record in records if "error" in record}
    assert list(bad) == ["07.jpg", "22.jpg"]
    assert "07.jpg is a web page" in bad["07.jpg"]
    captioned = [record for record in records if "error" not in record]
    expected = load(tiny_model).caption([r["image"] for r in captioned], beam_size=2, max_length=8)
    assert any(caption.text for caption in expected)
    for record, caption in zip(captioned, expected, strict=True):
        assert record["caption"] == caption.text
        assert record["score"] == pytest.approx(caption.score, rel=1e-4)
        assert record["logprob"] == pytest.approx(caption.logprob, rel=1e-4)
        assert [other["caption"] for other in record["others"]] == [other.text for other in caption.others]
    manifest = json.loads((whole / "manifest.json").read_text())
    assert (manifest["photos"], manifest["parts"], manifest["errors"]) == (PHOTOS, 4, 2)
    assert [file["photos"] for file in manifest["files"]] == [8, 8, 8, 6]


@pytest.mark.parametrize("readers", [0, 3])
def test_processes_share_the_parts_and_write_what_one_would(
    readers: int, photos: Path, whole: Path, tiny_model: Path, tmp_path: Path, command: Command
) -> None:
    for index in (2, 0, 1):
        assert not (tmp_path / "manifest.json").exists()
        more = (f"shard={index}/3", f"readers={readers}")
        done = command("predict", *arguments(tiny_model, photos / "list.txt", tmp_path, *more))
        assert f"(process {index} of 3)" in done.err
    assert files(tmp_path) == files(whole)
    assert "complete: 30 photos in 4 parts, 2 of them could not be read" in done.err
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path, whole)]
    assert manifests[0] == manifests[1]


def test_each_torchrun_process_takes_its_share(
    photos: Path, whole: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        run(tiny_model, photos / "list.txt", tmp_path)
        names = list(files(tmp_path))
        assert len(names) == (2 if rank == "0" else 4)
    assert files(tmp_path) == files(whole)


def test_a_run_killed_at_random_moments_loses_and_repeats_nothing(
    photos: Path, whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    server = forkserver()  # new interpreters would take seconds to start
    cfg = compose("predict", *arguments(tiny_model, photos / "list.txt", tmp_path))

    def start() -> multiprocessing.process.BaseProcess:
        process = server.Process(target=predict, args=(cfg,))
        process.start()
        return process

    start().join(120)  # the server itself takes seconds to start
    shutil.rmtree(tmp_path)
    began = time.monotonic()
    process = start()
    process.join(120)
    took = time.monotonic() - began
    assert files(tmp_path) == files(whole)

    moments = random.Random(6)
    kills = runs = 0
    while kills < KILLS:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        complete, runs = False, runs + 1
        while not complete:
            process = start()
            process.join(moments.uniform(0.05, 0.95) * took if kills < KILLS else 60)
            complete = process.exitcode is not None
            if not complete:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += 1
        assert process.exitcode == 0
        assert files(tmp_path) == files(whole)
        manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path, whole)]
        assert manifests[0] == manifests[1]


@pytest.mark.parametrize("cut", [0, 500, 3000])
def test_complete_batches_of_an_unfinished_part_are_kept(
    cut: int, photos: Path, whole: Path, tiny_model: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "manifest.json").unlink()
    part = tmp_path / "parts" / "00000001.jsonl"
    content = part.read_bytes()
    part.with_name(f".{part.name}.unfinished").write_bytes(content[:cut])
    part.unlink()
    journal = tmp_path / "journal" / "0-of-1.jsonl"
    kept = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(kept[0] + kept[2] + kept[3][:20])  # its own line, and one cut short
    done = command("predict", *arguments(tiny_model, photos / "list.txt", tmp_path))
    assert files(tmp_path) == files(whole)
    complete = content[:cut].count(b"\n") // 3 * 3
    assert f"{8 - complete} photos captioned now, {22 + complete} before, 0 could" in done.err
    assert json.loads((tmp_path / "manifest.json").read_text()) == json.loads(
        (whole / "manifest.json").read_text()
    )
    again = command("predict", *arguments(tiny_model, photos / "list.txt", tmp_path))
    assert "0 photos captioned now, 30 before, 0 could not be read" in again.err
    assert again.status == 1


def test_sampling_draws_the_same_after_a_restart(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    sampled = ("decoding=sample", "decoding.seed=3")
    run(tiny_model, photos / "list.txt", tmp_path / "one", *sampled)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "parts" / "00000002.jsonl").unlink()
    run(tiny_model, photos / "list.txt", tmp_path / "two", *sampled)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len({record.get("caption") for record in lines(tmp_path / "one")}) > 10


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    """Three tars of ten photos each; the last is cut short within its sixth."""
    for number in range(3):
        with tarfile.open(tmp_path / f"x-{number}.tar", "w") as tar:
            for index in range(number * 10, number * 10 + 10):
                path = photos / f"{index:02d}.jpg"
                content = path.read_bytes() if path.exists() else b""
                info = tarfile.TarInfo(path.name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                note = tarfile.TarInfo(f"{index:02d}.txt")
                tar.addfile(note, io.BytesIO(b""))
    with tarfile.open(tmp_path / "x-2.tar") as tar:
        place = tar.getmember("25.jpg").offset_data + 100
    whole = (tmp_path / "x-2.tar").read_bytes()
    (tmp_path / "x-2.tar").write_bytes(whole[:place])
    return tmp_path


def test_each_shard_is_a_part(
    shards: Path, whole: Path, photos: Path, tiny_model: Path, tmp_path: Path, command: Command
) -> None:
    pattern = f"{shards}/x-{{0..2}}.tar"
    done = command("predict", *arguments(tiny_model, pattern, tmp_path / "out", "shard=0/2"))
    assert "complete: " not in done.err
    done = command("predict", *arguments(tiny_model, pattern, tmp_path / "out", "shard=1/2"))
    records = lines(tmp_path / "out")
    expected = {Path(record["image"]).name: record for record in lines(whole)}
    assert [record["image"] for record in records[:10]] == [
        f"{shards}/x-0.tar::{index:02d}.jpg" for index in range(10)
    ]
    for record in records[:-1]:
        other = expected[Path(record["image"].replace("::", "/")).name]
        if "error" in record:
            assert record["image"] in record["error"]
            assert "error" in other
        else:
            assert record["caption"] == other["caption"]
    assert records[-1]["image"] == f"{shards}/x-2.tar"
    assert "x-2.tar is truncated within member '25.jpg'" in records[-1]["error"]
    assert len(records) == 26
    piped = command("predict", *arguments(tiny_model, f"pipe:cat {shards}/x-0.tar", tmp_path / "piped"))
    assert piped.status == 1
    assert [r.get("caption") for r in lines(tmp_path / "piped")] == [r.get("caption") for r in records[:10]]


def test_the_folder_of_another_run_is_refused(
    photos: Path, whole: Path, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UsageError, match=r"output_dir=.* \(search differ\)"):
        run(tiny_model, photos / "list.txt", tmp_path, "beam_size=1")
    (photos / "less.txt").write_text("".join(f"{index:02d}.jpg\n" for index in range(1, PHOTOS)))
    with pytest.raises(UsageError, match=r"00000000\.jsonl .*other photos"):
        run(tiny_model, photos / "less.txt", tmp_path)
    shutil.copy(tmp_path / "parts" / "00000000.jsonl", tmp_path / "parts" / ".00000000.jsonl.unfinished")
    (tmp_path / "parts" / "00000000.jsonl").unlink()
    with pytest.raises(UsageError, match=r"00000000\.jsonl .*other photos"):
        run(tiny_model, photos / "less.txt", tmp_path)


def test_two_processes_of_one_share_do_not_write_one_part(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'ab+'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    part = tmp_path / "parts" / ".00000000.jsonl.unfinished"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(part)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=r"00000000\.jsonl.*shard=i/n"):
            run(tiny_model, photos / "list.txt", tmp_path)
        holder.communicate()


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        (["shard=4/4"], ["shard=4/4", "i/n"]),
        (["shard=x"], ["shard=x", "i/n"]),
        (["part_size=0"], ["part_size=0"]),
        (["batch_size=0"], ["batch_size=0"]),
        (["readers=-1"], ["readers=-1"]),
        (["overlay=png"], ["bulk=true", "overlay=png"]),
        (["bulk=false", "shard=0/2"], ["shard=0/2", "bulk=true"]),
        (["images=[a.tar,b.jpg]"], ["images=", "shards"]),
        (["images=[-]", "shard=0/2"], ["images=-"]),
        (["images=no.tar"], ["no.tar"]),
        (["images=nowhere"], ["'nowhere'"]),
    ],
)
def test_wrong_settings_are_refused_in_a_message_that_names_them(
    more: list[str], tokens: list[str], photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        run(tiny_model, photos / "list.txt", tmp_path / "out", *more)
    assert [token for token in tokens if token not in str(refused.value)] == []
