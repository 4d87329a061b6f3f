"""What do the tests share?"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioner.bundle import Bundle

# A loaded machine is slow, not wrong; and what passed here must pass elsewhere: the same examples in every run.
settings.register_profile("captioner", deadline=None, derandomize=True)
settings.load_profile("captioner")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos, captions and weights named by CAPTIONER_REAL_DATA."""
    folder = os.environ.get("CAPTIONER_REAL_DATA")
    if not folder:
        pytest.skip("CAPTIONER_REAL_DATA is not set: it names the folder of real photos and weights")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"CAPTIONER_REAL_DATA={folder} is not a folder")
    return path.resolve()


def compose(config_name: str, *overrides: str) -> DictConfig:
    """The configuration a command would get, without starting a process."""
    from captioner import cli

    return cli.compose(config_name, overrides)


TINY = (
    "data.train.size=48",
    "data.val.size=12",
    "data.batch_size=8",
    "data.num_workers=0",
    "data.image_size=32",
    "image.cover=0",
    "encoder.image_size=[32,32]",
    "model.decoder.dim=16",
    "model.decoder.num_heads=2",
    "model.decoder.depth=1",
    "model.decoder.sentinel=false",
    "trainer=cpu",
    "trainer.precision=32-true",
    "samples=0",
)
"""Overrides that make a training run of a second or two."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file trained for two short epochs on small scenes: real in every part, but it knows little."""
    from captioner.training.fit import fit

    folder = tmp_path_factory.mktemp("tiny")
    result = fit(compose("train", *TINY, "trainer.max_epochs=2", f"output_dir={folder}"))
    assert result is not None
    return result.model_file


@pytest.fixture(scope="session")
def random_model() -> Bundle:
    """A whole captioner of random weights with opinions: a ViT with a class token on a 2 x 3 grid. Do not change it."""
    import torch

    from captioner.bundle import Bundle, build_captioner
    from captioner.image.transforms import ImageTransform
    from captioner.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(["a red dog runs", "two cats sit on the mat", "the sky is blue"])
    spec = {
        "_target_": "captioner.models.captioner.Captioner",
        "encoder": {
            "_target_": "captioner.models.encoders.encoder.ImageEncoder",
            "name": "test_vit",
            "image_size": [32, 48],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "decoder": {
            "_target_": "captioner.models.decoders.transformer.TransformerDecoder",
            "vocab_size": tokenizer.vocab_size,
            "dim": 16,
            "depth": 2,
            "num_heads": 2,
            "max_length": 12,
            "tie_weights": False,
        },
        "image_depth": 1,
        "image_heads": 2,
    }
    torch.manual_seed(0)
    captioner = build_captioner(spec).eval()
    with torch.no_grad():
        for name, parameter in captioner.named_parameters():
            if "norm" not in name:  # norms stay, or one word would win everywhere
                parameter.normal_(std=2.0 if "position_embedding" in name else 0.5)
    encoder = captioner.encoder
    transform = ImageTransform(encoder.image_size, fit="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    return Bundle(
        captioner, tokenizer, transform, spec, {"data": {"name": "none"}, "scores": {"val/loss": 1.5}}
    )


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Runs `python -m captioner.NAME ARGUMENTS` without a new process: everything but the interpreter's start."""
    from captioner.cli import run

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as `run` does, and undone after the test

    def call(name: str, *arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", [f"captioner.{name}", *arguments])
        task = getattr(importlib.import_module(f"captioner.{name}"), name)
        with pytest.raises(SystemExit) as leaving:
            run(task, name)
        return Finished(int(leaving.value.code or 0), *capfd.readouterr())

    return call
