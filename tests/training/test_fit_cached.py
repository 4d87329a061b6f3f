"""Training on cached features equals training on photos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from captioner.bundle import load
from captioner.errors import UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose

ROOT = Path(__file__).parents[2]
AUGMENT = "image.augment={scale: [0.6, 1.0], flip: true}"
FROZEN = ("encoder.trainable=none", "data.captions_per_image=null", AUGMENT)


def run(folder: Path, *overrides: str) -> dict[str, float]:
    result = fit(compose("train", *TINY, *FROZEN, f"output_dir={folder}", *overrides))
    assert result is not None
    return result.scores


def cached(tmp_path: Path, views: int = 2) -> tuple[str, ...]:
    return "cache=features", f"cache.folder={tmp_path / 'features'}", f"cache.views={views}"


def test_the_first_epochs_equal_those_on_photos(tmp_path: Path) -> None:
    """As many epochs as there are views use the same pixels; features are rounded to half precision."""
    photos = run(tmp_path / "photos", "trainer.max_epochs=2")
    features = run(tmp_path / "cached", "trainer.max_epochs=2", *cached(tmp_path))
    assert features["val/loss"] == pytest.approx(photos["val/loss"], rel=1e-3)
    files = [tmp_path / name / "model.safetensors" for name in ("photos", "cached")]
    expected, found = (load_file(file) for file in files)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.02, atol=0.02, msg=name)
        assert "encoder" not in name or torch.equal(found[name], value)
    spec, other = (load(file).spec for file in files)
    assert spec == other


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    steady = ("trainer.max_epochs=3", "optim.warmup=0", "optim.final_lr=1", *cached(tmp_path))
    run(tmp_path / "whole", *steady)
    every = "+trainer.val_check_interval=2"
    run(tmp_path / "cut", *steady, "+trainer.max_steps=8", every)
    run(tmp_path / "cut", *steady, every, f"resume={tmp_path / 'cut'}")
    expected, found = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_two_processes_share_the_writing_and_validate_as_one(tmp_path: Path) -> None:
    settings = [
        *TINY,
        *FROZEN,
        *cached(tmp_path),
        "trainer.max_epochs=1",
        "optim.lr=1e-9",
        "data.val.size=13",
    ]
    command = [sys.executable, "-W", "ignore", "-m", "captioner.train", *settings, "trainer=ddp_cpu"]
    command += ["trainer.precision=32-true", f"output_dir={tmp_path / 'two'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Printed by the first process only, and not where the second one had already written all of a split.
    assert done.stderr.count("features complete") <= 2
    alone = run(
        tmp_path / "one", "trainer.max_epochs=1", "optim.lr=1e-9", "data.val.size=13", *cached(tmp_path)
    )
    card = load(tmp_path / "two" / "model.safetensors").card
    # 13 images are not a multiple of two processes; none may count twice.
    assert card["scores"]["val/loss"] == pytest.approx(alone["val/loss"], rel=1e-6)
    assert card["scores"]["val/CIDEr-D"] == pytest.approx(alone["val/CIDEr-D"], rel=1e-6)


def test_a_trained_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"encoder\.trainable=all"):
        fit(compose("train", *TINY, *cached(tmp_path), f"output_dir={tmp_path}"))
