"""Does a run start from a model file as it is, and refuse what does not fit in one sentence?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioner.bundle import load
from captioner.data.samples import CaptionSample
from captioner.data.scenes.dataset import Scenes
from captioner.errors import DataError, ModelFileError, UsageError
from captioner.image.decode import Photo
from captioner.training.fit import fit
from captioner.training.initial_model import Start, model_from_file
from tests.conftest import TINY, Finished, compose

ROOT = Path(__file__).parents[2]


def started(model: Path, *given: str, output_dir: str = "elsewhere", data: object = None) -> Start:
    tiny = [s for s in TINY if not (s.startswith("model.decoder.depth") and "decoder=lstm" in given)]
    cfg = compose("train", *tiny, f"init_from={model}", *given)
    dataset = Scenes("train", size=20, image_size=32) if data is None else data
    return model_from_file(cfg, dataset, given=given, output_dir=Path(output_dir))  # type: ignore[arg-type]


def test_weights_words_and_transform_come_from_the_file(tmp_path: Path, tiny_model: Path) -> None:
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
            "tokenizer=bpe",  # none of these comes from the command line of a user: the file knows better
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
    said = ("reward", "baseline", "advantage_sd", "sample_length", "policy_entropy")
    assert {f"train/{name}" for name in said} <= set(metrics)


def test_how_it_is_trained_may_be_changed(tiny_model: Path) -> None:
    given = ("model.dropout=0.25", "model.decoder.dropout=0.5", "encoder.trainable=none")
    start = started(tiny_model, *given)
    assert start.captioner.bridge.dropout.p == 0.25
    assert start.captioner.decoder.dropout.p == 0.5
    assert start.captioner.encoder.frozen
    assert start.spec["dropout"] == 0.25
    assert start.spec["encoder"]["trainable"] == "none"
    untold = started(tiny_model)
    assert untold.captioner.bridge.dropout.p == load(tiny_model).captioner.bridge.dropout.p


def test_what_is_so_in_the_file_may_be_said(tiny_model: Path) -> None:
    started(
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
            r"model.decoder.dim=32 is asked for, and the file has 16; leave model.decoder.dim away",
        ),
        (
            "decoder=lstm",
            r"model.decoder._target_=captioner.models.decoders.lstm.LstmDecoder is asked for, .*; leave decoder away",
        ),
        (
            "encoder=resnet50",
            r"encoder.name=resnet50 is asked for, and the file has resnet10t; leave encoder away",
        ),
        (
            "encoder.image_size=[64,64]",
            r"encoder.image_size=\[64, 64\] is asked for, and the file has \[32, 32\]",
        ),
        ("encoder.weights=there", r"encoder.weights=there is asked for, and the file has its own; leave"),
        ("tokenizer.min_count=3", r"tokenizer.min_count=3 is asked for, and the file has its own"),
        ("image.fit=pad", r"image.fit=pad is asked for, and the file has crop; leave image.fit away"),
        ("model.image_depth=1", r"model.image_depth=1 is asked for, and the file has 0"),
    ],
)
def test_another_model_than_the_files_is_refused(tiny_model: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"init_from=.*model.safetensors brings its own model: {message}"):
        started(tiny_model, override)


def test_a_file_that_is_none_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model file at .*nothing.safetensors"):
        started(tmp_path / "nothing.safetensors")
    with pytest.raises(ModelFileError, match="no model file at"):
        started(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ModelFileError, match="is not a captioner model file"):
        started(tmp_path / "text")
    with pytest.raises(
        UsageError, match="is the file that this run would overwrite; take another output_dir"
    ):
        started(tiny_model, output_dir=str(tiny_model.parent))


class Foreign:
    """Captions in words that the model does not know."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(str(index), ("Ein Hund rennt am Strand", "two dogs"), None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        raise NotImplementedError


def test_captions_in_other_words_are_refused(tiny_model: Path) -> None:
    message = (
        r"does not know \d+% of the words of these training captions, such as ein, hund, rennt; take a model"
    )
    with pytest.raises(DataError, match=message):
        started(tiny_model, data=Foreign())


def test_the_command_says_it_in_one_line(
    tmp_path: Path, tiny_model: Path, command: Callable[..., Finished]
) -> None:
    done = command(
        "train", *TINY, f"init_from={tiny_model}", "model.decoder.dim=32", f"output_dir={tmp_path}"
    )
    assert done.status == 2
    assert "model.decoder.dim=32 is asked for, and the file has 16" in done.err
    done = command("train", *TINY, "objective=self_critical", f"output_dir={tmp_path}")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "give init_from=FILE" in done.err


def test_two_processes_learn_what_one_learns_from_stored_features(
    tmp_path: Path, tiny_model: Path, command: Callable[..., Finished]
) -> None:
    """What is drawn for an image is the same wherever it is drawn, so whole batches have the same gradient."""
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
    start = load(tiny_model).captioner.state_dict()
    apart, moved = (
        torch.cat(
            [(value - other[name]).flatten() for name, value in one.items() if value.is_floating_point()]
        )
        for other in (two, {f"captioner.{name}": value for name, value in start.items()})
    )
    assert float(apart.norm()) < 0.02 * float(moved.norm())
