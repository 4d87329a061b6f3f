"""A distributed run ends with a reason when one of its processes does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from captioner.data.loader import EpochOrder
from captioner.data.scenes import Scenes
from tests.conftest import TINY


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    two = ("trainer=ddp_cpu", "trainer.precision=32-true", "validate_captions=2", "samples=0", "threads=1")
    return subprocess.Popen(
        [sys.executable, "-m", "captioner.train", *overrides, *two, f"output_dir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_rank_that_is_killed_ends_the_run_and_is_named(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY, "trainer.max_epochs=500")
    deadline = time.monotonic() + 200
    while not (tmp_path / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    others = [int(child) for child in children if b"captioner" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(others) == 1, children
    os.kill(others[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode, err
    # Reported by whichever notices first: the process whose connection broke, or the launcher's thread.
    reported = "process 0 of 2" in err and "process 1 (killed by SIGKILL)" in err
    assert reported or "terminated with code -9" in err, err
    assert "Traceback" not in err


def test_an_error_of_one_rank_ends_the_run_and_is_reported(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    scenes = Scenes("train", size=12, image_size=32)
    for index in range(len(scenes)):
        Image.fromarray(scenes.photo(index).pixels).save(photos / f"{index:02d}.png")
        (photos / f"{index:02d}.txt").write_text("\n".join(scenes[index].captions))
    for split, images in (("train", range(8)), ("val", range(8, 12)), ("test", ())):
        (photos / f"{split}.txt").write_text("".join(f"{index:02d}.png\n" for index in images))
    second = next(EpochOrder(8, 2, rank=1, world_size=2, drop_last=True).batches(0))
    bad = photos / f"{second[0].index:02d}.png"
    bad.write_bytes(b"<html>not found</html>")
    of_folder = ("data=folder", f"data.root={photos}", "data.split_by=lists", "data.num_workers=0")
    decoder = ("model.decoder.mlp_ratio=2", "model.decoder.dropout=0", "model.decoder.max_length=32")
    small = ("encoder=tiny", "encoder.image_size=[32,32]", *decoder, "data.batch_size=2")
    process = start(out, *of_folder, *small, "trainer.max_epochs=50")
    assert process.stderr is not None
    before = ""
    while bad.name not in before and (line := process.stderr.readline()):
        before += line
    err = before + process.communicate(timeout=60)[1]
    assert process.returncode, err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [bad.name in line for line in errors].count(True) == 1, err
    reported = any("process 0 of 2" in line and "process 1 (status 1)" in line for line in errors)
    assert reported or "terminated with code 1" in err, err
    assert "Traceback" not in err
