"""Do two processes train as one would, whatever the data, and end together when one dies?"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY

STEADY = (
    *TINY, "model.dropout=0", "model.decoder.dropout=0", "trainer.max_epochs=2", "+trainer.log_every_n_steps=1",
    "objective.label_smoothing=0.1", "threads=1",
)  # fmt: skip
TWO = ("trainer=ddp_cpu", "trainer.precision=32-true")


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "captioner.train", *STEADY, f"output_dir={folder}", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_two_processes_have_the_loss_curve_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    # Frozen: batch norms that learn see each rank's own images, unless they are synchronised, which needs GPUs.
    frozen = "encoder.trainable=none"
    one = start(tmp_path / "one", "data.batch_size=8", frozen)
    two = start(tmp_path / "two", "data.batch_size=4", frozen, *TWO)
    for process in (one, two):
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    losses = column(tmp_path / "one", "train/loss")
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert column(tmp_path / "two", "train/loss") == pytest.approx(losses, abs=1e-4)
    for name in ("val/loss", "val/CIDEr-D", "val/BLEU-1"):
        assert column(tmp_path / "two", name) == pytest.approx(column(tmp_path / "one", name), abs=1e-4)


def test_a_rank_without_data_of_its_own_stops_nobody(tmp_path: Path) -> None:
    few = ("data.train.size=3", "data.val.size=2", "data.batch_size=2", "validate_captions=2")
    process = start(tmp_path, *few, *TWO, "trainer.devices=3")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(column(tmp_path, "val/loss")) == 2


def test_a_rank_that_dies_ends_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, *TWO, "trainer.max_epochs=500", "validate_captions=2")
    deadline = time.monotonic() + 200
    while not (tmp_path / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    others = [int(child) for child in children if b"captioner" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(others) == 1, children
    os.kill(others[0], signal.SIGKILL)
    killed = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    assert err
