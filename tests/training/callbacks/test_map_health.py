"""Is a collapse of the maps said while training, once, and are the figures logged?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.models.attention import MultiHeadAttention
from captioner.training.fit import fit
from tests.conftest import TINY, compose


def run(folder: Path) -> Any:
    small = ("data.train.size=16", "data.val.size=6", "trainer.max_epochs=2")
    return fit(compose("train", *TINY, *small, f"output_dir={folder}"))


def test_a_collapse_is_said_once_and_figures_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = MultiHeadAttention.forward

    def flat(
        self: MultiHeadAttention, *arguments: Any, **named: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        out, weights = real(self, *arguments, **named)
        return out, None if weights is None else torch.full_like(weights, 1 / weights.shape[-1])

    monkeypatch.setattr(MultiHeadAttention, "forward", flat)
    result = run(tmp_path)
    assert result.scores["val/map_entropy"] == pytest.approx(1, abs=1e-3)
    assert result.scores["val/map_same_in_caption"] == 1
    said = [line for line in capfd.readouterr().err.splitlines() if "collapsed" in line]
    assert len(said) == 1
    assert said[0].startswith("warning: epoch 1: attention maps have collapsed: attention is flat")
