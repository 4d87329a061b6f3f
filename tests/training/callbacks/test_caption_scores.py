from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from safetensors import safe_open

from captioner.errors import UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose


def test_the_best_epoch_by_any_of_the_metrics_is_kept(tmp_path: Path) -> None:
    settings = ("trainer.max_epochs=3", "optim.lr=2e-2", f"output_dir={tmp_path}", "validate_captions=6")
    result = fit(compose("train", *TINY, *settings, "validate_metrics=[BLEU,CIDEr]", "monitor=val/BLEU-1"))
    assert result is not None
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    by_epoch = {int(row["epoch"]): row for row in rows if row.get("val/BLEU-1")}
    assert len(by_epoch) == 3
    assert {"val/BLEU-4", "val/CIDEr"} <= by_epoch[0].keys()
    assert "val/CIDEr-D" not in by_epoch[0]
    best = max(by_epoch, key=lambda epoch: float(by_epoch[epoch]["val/BLEU-1"]))
    with safe_open(result.model_file, "np") as file:
        card = json.loads(file.metadata()["card"])
    assert card["epoch"] == best + 1
    assert card["scores"]["val/BLEU-1"] == pytest.approx(float(by_epoch[best]["val/BLEU-1"]))


def test_a_metric_that_cannot_be_computed_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="metric FAME"):
        fit(compose("train", *TINY, f"output_dir={tmp_path}", "validate_metrics=[FAME]"))
