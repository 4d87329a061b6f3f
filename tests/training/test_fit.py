"""Training runs: output files, overfitting, exact resume and refused settings."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from captioner.bundle import load
from captioner.errors import CaptionerError, UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose


def test_a_run_writes_model_checkpoint_metrics_and_samples(tmp_path: Path) -> None:
    result = fit(compose("train", *TINY, "trainer.max_epochs=2", "samples=2", f"output_dir={tmp_path}"))

    assert result is not None
    assert result.model_file == tmp_path / "model.safetensors"
    assert {"val/loss", "val/CIDEr-D", "val/BLEU-4"} <= result.scores.keys()
    assert (tmp_path / "last.ckpt").is_file()
    assert len(list((tmp_path / "samples").glob("*.png"))) == 4
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["val/loss"]) > 0 for row in rows if row.get("val/loss")] == [True, True]
    card = load(result.model_file).card
    assert card["data"]["train_images"] == 48
    assert card["scores"].keys() >= {"val/loss", "val/CIDEr-D"}
    assert card["settings"]["model"]["decoder"]["dim"] == 16


def test_a_model_overfits_eight_images(tmp_path: Path) -> None:
    settings = [s for s in TINY if not s.startswith(("data.train.size", "model.decoder.dim"))]
    cfg = compose(
        "train",
        *settings,
        "data.train.size=8",
        "data.captions_per_image=null",
        "model.decoder.dim=64",
        "model.decoder.dropout=0",
        "model.dropout=0",
        "objective.label_smoothing=0",
        "data.val.split=train",
        "data.val.size=8",
        "validate_captions=8",
        "trainer.max_epochs=120",
        "+trainer.limit_val_batches=1",
        "trainer.check_val_every_n_epoch=60",
        "optim.lr=3e-3",
        f"output_dir={tmp_path}",
    )
    result = fit(cfg)
    assert result is not None
    # Each image has five different references, so the loss stays above their entropy; captions must be right.
    assert result.scores["val/CIDEr-D"] > 4, result.scores
    assert result.scores["val/distinct"] == 1


def run_to(folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
    fit(compose("train", *TINY, f"output_dir={folder}", *overrides))
    weights: dict[str, torch.Tensor] = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return weights


def test_resume_after_kill_gives_identical_weights(tmp_path: Path) -> None:
    """With dropout: order, augmentation and random numbers must all continue where they were."""
    whole = run_to(tmp_path / "whole", "trainer.max_epochs=4")

    command = [
        sys.executable,
        "-m",
        "captioner.train",
        *TINY,
        "trainer.max_epochs=4",
        f"output_dir={tmp_path / 'cut'}",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "cut" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.is_file()
    epoch = torch.load(checkpoint, weights_only=True)["epoch"]

    resumed = run_to(tmp_path / "cut", "trainer.max_epochs=4", f"resume={tmp_path / 'cut'}")
    assert epoch < 3, "the run ended before it was killed; nothing was resumed"
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_resume_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    # A run that ends early has another schedule, so the learning rate is constant here.
    steady = ("trainer.max_epochs=2", "optim.warmup=0", "optim.final_lr=1")
    whole = run_to(tmp_path / "whole", *steady)
    # 6 batches an epoch; a validation, and with it a checkpoint, after every 2.
    every = "+trainer.val_check_interval=2"
    run_to(tmp_path / "cut", *steady, "+trainer.max_steps=8", every)
    resumed = run_to(tmp_path / "cut", *steady, every, f"resume={tmp_path / 'cut'}")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_loss_of_nan_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=r"loss is nan at step \d+ .*optim\.lr"):
        fit(compose("train", *TINY, "optim.lr=1e30", f"output_dir={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("monitor=val/BLUE-4", r"monitor=val/BLUE-4 .*val/BLEU-1, .*did you mean val/BLEU-4"),
        ("monitor_mode=up", r"monitor_mode='up' .*min or max"),
        ("resume=/nowhere", r"resume=/nowhere .*last\.ckpt"),
        ("optim.lr=-1", r"optim\.lr=-1 "),
        ("optim.warmup=2", r"optim\.warmup=2 "),
        ("data.batch_size=0", r"data\.batch_size=0 "),
        ("+trainer.nonsense=1", r"trainer: .*nonsense"),
        ("trainer.accelerator=gpu", r"trainer: .*gpu"),
        ("validate_captions=1", r"validate_captions=1 "),
        ("model.decoder.num_heads=5", r"num_heads=5 .*dim=16"),
        ("objective.label_smoothing=1", r"label_smoothing=1 "),
        ("encoder.name=resnet19", r"resnet19.*resnet18"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, override: str, message: str) -> None:
    if override == "trainer.accelerator=gpu" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=message):
        fit(compose("train", *TINY, "trainer.max_epochs=1", f"output_dir={tmp_path}", override))


def test_an_unwritable_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"output_dir=.*file/run"):
        fit(compose("train", *TINY, f"output_dir={tmp_path / 'file' / 'run'}"))
