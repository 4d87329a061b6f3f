"""Is what a strategy cannot do refused, with the remedy?"""

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
            ["strategy=fsdp", "ema=0.9"],
            r"ema=0.9 averages whole weights, and strategy=fsdp splits them; leave ema",
        ),
        (
            ["strategy=fsdp", "image.fit=native", "encoder.trainable=all"],
            r"image.fit=native looks through the encoder .* take encoder.trainable=none, .* or strategy=ddp",
        ),
        (
            ["strategy=fsdp", "trainer.precision=16-mixed"],
            r"trainer: The `ModelParallelStrategy` does not support .* precision='16-mixed'",
        ),
    ],
)
def test_what_cannot_be_combined_with_split_weights_is_refused(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fit(compose("train", *TINY, *overrides, f"output_dir={tmp_path}"))


@pytest.mark.parametrize("strategy", ["fsdp_cpu_offload", "deepspeed_stage_2"])
def test_other_ways_to_split_weights_are_refused(strategy: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"trainer.strategy={strategy} splits the weights.*strategy=fsdp"):
        fit(compose("train", *TINY, f"trainer.strategy={strategy}", f"output_dir={tmp_path}"))
