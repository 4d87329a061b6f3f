"""Runs that start from a model file, and settings that do not fit it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import Dropout

from captioner.bundle import load
from captioner.data.samples import CaptionSample
from captioner.data.scenes.dataset import Scenes
from captioner.errors import DataError, ModelFileError, UsageError
from captioner.image.decode import Photo
from captioner.training.fit import fit
from captioner.training.initial_model import InitialModel, model_from_file
from tests.conftest import TINY, Finished, compose

ROOT = Path(__file__).parents[2]


def initial_model(
    model: Path, *overrides: str, output_dir: str = "elsewhere", data: object = None
) -> InitialModel:
    tiny = [s for s in TINY if not (s.startswith("model.decoder.depth") and "decoder=lstm" in overrides)]
    cfg = compose("train", *tiny, f"init_from={model}", *overrides)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    dataset = Scenes("train", size=20, image_size=32) if data is None else data
    return model_from_file(settings, dataset, overrides=overrides, output_dir=Path(output_dir))  # type: ignore[arg-type]


def test_weights_vocabulary_and_transform_come_from_the_file(tmp_path: Path, tiny_model: Path) -> None:
    result = fit(
        compose(
            "train",
            *TINY,
            "objective=self_critical",
            "objective.samples=2",
            "trainer.max_epochs=1",
            "+trainer.log_every_n_steps=2",
            "optim.lr=1e-12",
            f"init_from={tiny_model.parent}",
            f"output_dir={tmp_path}",
            "tokenizer=bpe",  # no overrides are passed to `fit`, so settings of the model are ignored
            "image.fit=pad",
            "model.decoder.depth=2",
        )
    )
    assert result is not None
    before, after = load(tiny_model), load(result.model_file)
    assert (after.spec, after.transform) == (before.spec, before.transform)
    assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
    assert after.card["settings"]["init_from"] == str(tiny_model.parent)
    for name, value in before.captioner.state_dict().items():
        torch.testing.assert_close(after.captioner.state_dict()[name], value, atol=1e-6, rtol=1e-6, msg=name)
    metrics = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    names = ("reward", "baseline", "advantage_sd", "sample_length", "policy_entropy")
    assert {f"train/{name}" for name in names} <= set(metrics)


def test_settings_of_its_training_may_be_changed(tiny_model: Path) -> None:
    overrides = ("model.dropout=0.25", "model.decoder.dropout=0.5", "encoder.trainable=none")
    initial = initial_model(tiny_model, *overrides)
    assert initial.captioner.bridge.dropout.p == 0.25
    dropout = initial.captioner.decoder.get_submodule("dropout")
    assert isinstance(dropout, Dropout)
    assert dropout.p == 0.5
    assert initial.captioner.encoder.frozen
    assert initial.spec["dropout"] == 0.25
    assert initial.spec["encoder"]["trainable"] == "none"
    unchanged = initial_model(tiny_model)
    assert unchanged.captioner.bridge.dropout.p == load(tiny_model).captioner.bridge.dropout.p


def test_overrides_equal_to_the_file_are_accepted(tiny_model: Path) -> None:
    initial_model(
        tiny_model,
        "model.decoder.dim=16",
        "encoder=tiny",
        "encoder.image_size=[32,32]",
        "decoder=transformer",
        "image.fit=crop",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.decoder.dim=32",
            r"model\.decoder\.dim=32 .*has 16; leave model\.decoder\.dim out",
        ),
        (
            "decoder=lstm",
            r"model\.decoder\._target_=captioner\.models\.decoders\.lstm\.LstmDecoder .*; leave decoder out",
        ),
        (
            "encoder=resnet50",
            r"encoder\.name=resnet50 .*has resnet10t; leave encoder out",
        ),
        (
            "encoder.image_size=[64,64]",
            r"encoder\.image_size=\[64, 64\] .*has \[32, 32\]",
        ),
        ("encoder.weights=there", r"encoder\.weights=there .*has its own; leave"),
        ("tokenizer.min_count=3", r"tokenizer\.min_count=3 .*has its own"),
        ("image.fit=pad", r"image\.fit=pad .*has crop; leave image\.fit out"),
        ("model.image_depth=1", r"model\.image_depth=1 .*has 0"),
    ],
)
def test_another_model_than_the_files_is_refused(tiny_model: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        initial_model(tiny_model, override)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model file at .*nothing.safetensors"):
        initial_model(tmp_path / "nothing.safetensors")
    with pytest.raises(ModelFileError, match="no model file at"):
        initial_model(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ModelFileError, match="is not a captioner model file"):
        initial_model(tmp_path / "text")
    with pytest.raises(UsageError, match=r"init_from=.*output_dir"):
        initial_model(tiny_model, output_dir=str(tiny_model.parent))


class Foreign:
    """Captions of words that are not in the model's vocabulary."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(str(index), ("Ein Hund rennt am Strand", "two dogs"), None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        raise NotImplementedError


def test_captions_of_another_vocabulary_are_refused(tiny_model: Path) -> None:
    with pytest.raises(DataError, match=r"\d+% .*ein, hund, rennt"):
        initial_model(tiny_model, data=Foreign())


def test_the_command_prints_one_line(
    tmp_path: Path, tiny_model: Path, command: Callable[..., Finished]
) -> None:
    done = command(
        "train", *TINY, f"init_from={tiny_model}", "model.decoder.dim=32", f"output_dir={tmp_path}"
    )
    assert done.status == 2
    assert "model.decoder.dim=32" in done.err
    done = command("train", *TINY, "objective=self_critical", f"output_dir={tmp_path}")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "init_from=FILE" in done.err


def test_two_processes_equal_one_on_cached_features(
    tmp_path: Path, tiny_model: Path, command: Callable[..., Finished]
) -> None:
    """Samples of an image do not depend on the process, so whole batches have equal gradients."""
    settings = [
        *TINY,
        *("objective=self_critical", "objective.kl=0.1", "objective.samples=3"),
        *("data.captions_per_image=null", "trainer.max_epochs=1", "optim.lr=1e-3", "model.dropout=0"),
        *("model.decoder.dropout=0", "encoder.trainable=none", "cache=features"),
        *(f"cache.folder={tmp_path / 'features'}", f"init_from={tiny_model}"),
    ]
    alone = command("train", *settings, "data.batch_size=8", f"output_dir={tmp_path / 'one'}")
    assert alone.status == 0, alone.err
    words = [sys.executable, "-W", "ignore", "-m", "captioner.train", *settings, "data.batch_size=4"]
    words += ["trainer=ddp_cpu", "trainer.precision=32-true", f"output_dir={tmp_path / 'two'}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("one", "two")
    )
    initial = load(tiny_model).captioner.state_dict()
    difference, update = (
        torch.cat(
            [(value - other[name]).flatten() for name, value in one.items() if value.is_floating_point()]
        )
        for other in (two, {f"captioner.{name}": value for name, value in initial.items()})
    )
    assert float(difference.norm()) < 0.02 * float(update.norm())
