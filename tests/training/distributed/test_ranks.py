"""Two processes have the losses and scores of one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from captioner.training.fit import fit
from tests.conftest import TINY, compose
from tests.training.rank_processes import train_ranks

STEADY = (
    *TINY, "model.dropout=0", "model.decoder.dropout=0", "trainer.max_epochs=2", "+trainer.log_every_n_steps=1",
    "objective.label_smoothing=0.1", "threads=1",
)  # fmt: skip
TWO = ("trainer=ddp_cpu", "trainer.precision=32-true")


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


# Trained batch norms use each rank's own images, unless they are synchronised, which needs GPUs.
FROZEN = ("encoder.trainable=none",)
WITHOUT_BATCH_NORM = (
    "encoder=timm",
    "encoder.name=test_vit",
    "encoder.trainable=all",
)
SCORES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "distinct")


@pytest.mark.parametrize("encoder", [FROZEN, WITHOUT_BATCH_NORM], ids=["frozen", "trained"])
def test_two_processes_have_the_losses_and_scores_of_one_with_the_doubled_batch(
    encoder: tuple[str, ...], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    uneven = "data.val.size=13"  # one rank has an image less, and the last batches are not full
    fit(compose("train", *STEADY, *encoder, uneven, "data.batch_size=8", f"output_dir={one}"))
    cfg = compose("train", *STEADY, *encoder, uneven, *TWO, "data.batch_size=4", f"output_dir={two}")
    train_ranks(cfg)
    losses = column(one, "train/loss")
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert column(two, "train/loss") == pytest.approx(losses, abs=1e-4)
    # Rounding depends on the shape of batches; captions are equal, and are scored in one process.
    assert column(two, "val/loss") == pytest.approx(column(one, "val/loss"), abs=2e-6)
    for name in SCORES:
        assert len(column(one, f"val/{name}")) == 2
        assert column(two, f"val/{name}") == column(one, f"val/{name}"), name
    assert min(column(one, "val/CIDEr-D")) > 0


def test_a_rank_without_data_does_not_block_the_others(tmp_path: Path) -> None:
    few = ("data.train.size=1", "data.val.size=1", "data.batch_size=2", "validate_captions=2")
    train_ranks(compose("train", *STEADY, *few, *TWO, f"output_dir={tmp_path}"))
    assert len(column(tmp_path, "train/loss")) == 2
    assert len(column(tmp_path, "val/loss")) == 2
    fit(compose("train", *STEADY, *few, f"output_dir={tmp_path / 'one'}"))
    for name in ("train/loss", "val/loss"):  # all 41 validation tokens are in one rank
        assert column(tmp_path, name) == pytest.approx(column(tmp_path / "one", name), abs=1e-4), name
    assert column(tmp_path, "val/BLEU-1") == column(tmp_path / "one", "val/BLEU-1")
