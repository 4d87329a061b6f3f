"""Weight averaging: formula, validation and model file, exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from captioner.bundle import load
from captioner.data.datamodule import CaptionDataModule
from captioner.data.scenes.dataset import Scenes
from captioner.errors import UsageError
from captioner.training.callbacks.averaging import WeightAverage
from captioner.training.fit import fit
from tests.conftest import TINY, compose


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_average_follows_the_formula(tmp_path: Path, tiny_model: Path, pretrained: bool) -> None:
    """Against runs of one, two and three steps, whose weights are averaged explicitly."""
    settings = [
        *TINY,
        "trainer.max_epochs=1",
        "optim.warmup=0",
        "optim.final_lr=1",
        "optim.lr=1e-3",
        "ema=0.4",
    ]
    settings += [f"init_from={tiny_model}"] * pretrained

    def run(steps: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        folder = tmp_path / str(steps)
        every = f"+trainer.val_check_interval={steps}"
        fit(compose("train", *settings, f"+trainer.max_steps={steps}", every, f"output_dir={folder}"))
        kept = torch.load(folder / "last.ckpt", weights_only=True)
        return kept["state_dict"], kept["callbacks"]["WeightAverage"]["average"]

    (one, first), (two, _), (three, average) = map(run, (1, 2, 3))
    for name, value in average.items():
        if not name.startswith("module.") or not value.is_floating_point():
            continue
        key = "captioner." + name.removeprefix("module.")
        # The initial weights of a new model are not saved, so the average after the first step is taken as given.
        decays = (0.4, 0.4, 0.4) if pretrained else (2 / 11, 3 / 12, 4 / 13)
        expected = first[name]
        if pretrained:
            initial = load(tiny_model).captioner.state_dict()[key.removeprefix("captioner.")]
            torch.testing.assert_close(
                expected, 0.4 * initial + 0.6 * one[key], atol=1e-6, rtol=1e-5, msg=name
            )
        for decay, weights in zip(decays[1:], (two, three), strict=True):
            expected = decay * expected + (1 - decay) * weights[key]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5, msg=name)


def test_the_average_is_validated_and_written_without_changing_training(tmp_path: Path) -> None:
    steady = ("trainer.max_epochs=1", "optim.warmup=0", "optim.final_lr=1")
    result = fit(compose("train", *TINY, *steady, "ema=0.8", f"output_dir={tmp_path / 'average'}"))
    fit(compose("train", *TINY, *steady, f"output_dir={tmp_path / 'plain'}"))
    assert result is not None
    kept, plain = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("average", "plain")
    )
    for name, value in plain["state_dict"].items():
        assert torch.equal(kept["state_dict"][name], value), f"{name}: averaging changed the weights"
    average = kept["callbacks"]["WeightAverage"]["average"]
    bundle = load(result.model_file)
    differing = 0
    for name, value in bundle.captioner.state_dict().items():
        assert torch.equal(value, average[f"module.{name}"]), name
        differing += not torch.equal(value, plain["state_dict"][f"captioner.{name}"])
    assert differing > 20
    data = CaptionDataModule(
        Scenes("val", size=12, image_size=32),
        Scenes("val", size=12, image_size=32),
        tokenizer=bundle.tokenizer,
        transform=bundle.transform,
        max_tokens=32,
    )
    (batch,) = data.val_dataloader()
    with torch.no_grad():
        logits = bundle.captioner(batch.images, batch.tokens[:, :, :-1]).logits
    loss = F.cross_entropy(logits.flatten(0, 2), batch.tokens[:, :, 1:].flatten(), ignore_index=0)
    assert result.scores["val/loss"] == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize(
    "objective",
    [
        ("objective=self_critical", "objective.kl=0.1", "objective.samples=2", "init_from={model}"),
        ("objective.scheduled_sampling=0.5", "objective.sampling_schedule=constant", "model.dropout=0.2"),
    ],
    ids=["self-critical", "scheduled sampling and dropout"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, tiny_model: Path, objective: tuple[str, ...]
) -> None:
    settings = [
        *TINY,
        *(setting.format(model=tiny_model) for setting in objective),
        *("trainer.max_epochs=2", "optim.lr=1e-3", "optim.warmup=0", "optim.final_lr=1", "ema=0.9"),
    ]
    every = "+trainer.val_check_interval=2"  # of 6 batches an epoch

    def run(folder: str, *more: str) -> dict[str, torch.Tensor]:
        fit(compose("train", *settings, f"output_dir={tmp_path / folder}", *more))
        kept = torch.load(tmp_path / folder / "last.ckpt", weights_only=True)
        average = kept["callbacks"]["WeightAverage"]["average"]
        return {**kept["state_dict"], **average}

    whole = run("whole")
    run("cut", "+trainer.max_steps=8", every)
    resumed = run("cut", every, f"resume={tmp_path / 'cut'}")
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UsageError, match=f"ema={decay} "):
        WeightAverage(decay)
