"""Replacement of trained batch norms by synchronised ones, and back."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.models.encoders.encoder import ImageEncoder
from captioner.training.distributed.batch_norms import SynchronisedBatchNorms
from captioner.training.trainer import make_trainer, resolve_settings
from tests.conftest import TINY, compose
from tests.training.rank_processes import run_ranks


def norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


# MobileNetV2's batch norms hold its activations, a ResNet's do not.
@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet10t"])
def test_synchronised_norms_do_not_change_the_output(name: str) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, [64, 64])
    pixels = torch.rand(4, 3, 64, 64)
    before, keys = norms(encoder), list(encoder.state_dict())
    expected = encoder.eval()(pixels).features
    in_training = encoder.train()(pixels).features
    plugin = SynchronisedBatchNorms()
    model = plugin.apply(encoder)
    assert model is encoder
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms(encoder).values())
    assert list(encoder.state_dict()) == keys
    torch.testing.assert_close(encoder.train()(pixels).features, in_training)
    statistics = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.01)
    changed = encoder.eval()(pixels).features
    assert not torch.allclose(changed, expected)

    # Converted twice, so that its buffers are no longer those of the original layers.
    plugin.revert(encoder.double().float())
    assert norms(encoder) == before
    torch.testing.assert_close(encoder.eval()(pixels).features, changed)
    for key, value in encoder.state_dict().items():
        if "running" in key:
            assert torch.equal(value, statistics[key]), key


def test_frozen_norms_are_kept() -> None:
    encoder = ImageEncoder("mobilenetv2_100", [64, 64], trainable="blocks.5")
    SynchronisedBatchNorms().apply(encoder)
    for name, norm in norms(encoder).items():
        is_trained = all(parameter.requires_grad for parameter in norm.parameters())
        assert isinstance(norm, nn.SyncBatchNorm) == is_trained, name
    assert {isinstance(norm, nn.SyncBatchNorm) for norm in norms(encoder).values()} == {True, False}


@pytest.mark.parametrize("name", ["ddp", "ddp_lean"])
def test_trainers_on_several_gpus_synchronise_batch_norms(name: str, tmp_path: Path) -> None:
    settings = [setting for setting in TINY if setting != "trainer=cpu"]
    on_cpu = ("trainer.accelerator=cpu", "trainer.devices=1", f"output_dir={tmp_path}")
    cfg = compose("train", *settings, f"trainer={name}", *on_cpu)
    trainer = make_trainer(resolve_settings(cfg.trainer), output_dir=tmp_path)
    assert isinstance(trainer.strategy, lightning.pytorch.strategies.DDPStrategy)
    assert isinstance(trainer.strategy._layer_sync, SynchronisedBatchNorms)


def test_training_them_on_cpus_is_refused(tmp_path: Path) -> None:
    two = (
        "trainer=ddp_cpu",
        "trainer.sync_batchnorm=true",
        "trainer.precision=32-true",
        "trainer.max_epochs=1",
    )
    results = run_ranks(compose("train", *TINY, *two, f"output_dir={tmp_path}"))
    assert results.statuses == [2, 2]
    for output in results.outputs:
        assert "error: trainer.sync_batchnorm=true" in output
        assert "Traceback" not in output
