"""Settings that sharding strategies do not support."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioner.errors import UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.strategy=fsdp", "ema=0.9"],
            r"ema=0\.9 .*ema=null",
        ),
        (
            ["trainer.strategy=fsdp", "image.fit=native", "encoder.trainable=all"],
            r"image\.fit=native .*encoder\.trainable=none.*trainer=ddp",
        ),
        (
            ["trainer.strategy=fsdp", "trainer.precision=16-mixed"],
            r"trainer: .*16-mixed",
        ),
    ],
)
def test_settings_that_need_unsharded_weights_are_refused(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fit(compose("train", *TINY, *overrides, f"output_dir={tmp_path}"))


@pytest.mark.parametrize("strategy", ["fsdp_cpu_offload", "deepspeed_stage_2"])
def test_other_sharding_strategies_are_refused(strategy: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"trainer.strategy={strategy} .*trainer=fsdp"):
        fit(compose("train", *TINY, f"trainer.strategy={strategy}", f"output_dir={tmp_path}"))
