"""Tests of captioner.search: sampling, training of trials, continuing a stopped search."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from captioner.bundle import load
from captioner.errors import UsageError
from captioner.search import main, search
from tests.conftest import TINY

SPACE = ["optim.lr=tag(log, interval(1e-4, 1e-2))", "model.decoder.score=choice(dot, cosine)"]
FIXED = [*TINY, "trainer.max_epochs=1", "data.train.size=8", "data.val.size=4", "validate_metrics=[CIDEr-D]"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_trials_are_runs_and_a_stopped_search_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    assert search([*FIXED, *SPACE], trials=2, seed=0, folder=folder) == 0
    first = rows(folder)
    assert search([*FIXED, *SPACE], trials=3, seed=0, folder=folder) == 0
    table = rows(folder)
    assert len(first) == 2
    assert len(table) == 3
    assert [row for row in table if row in first] == first  # nothing was repeated
    scores = [float(row["val/CIDEr-D"]) for row in table]
    assert scores == sorted(scores, reverse=True)
    for row in table:  # the table agrees with the runs
        card = load(folder / f"{int(row['trial']):03}" / "model.safetensors").card
        assert card["scores"]["val/CIDEr-D"] == float(row["val/CIDEr-D"])
        assert card["settings"]["optim"]["lr"] == float(row["optim.lr"])
        assert card["settings"]["model"]["decoder"]["score"] == row["model.decoder.score"]
        assert 1e-4 <= float(row["optim.lr"]) <= 1e-2
    assert len({row["optim.lr"] for row in table}) == 3
    assert f"best of 3: val/CIDEr-D {scores[0]:.4f} in trial {table[0]['trial']}" in capsys.readouterr().out


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    search([*FIXED, *SPACE], trials=1, seed=0, folder=tmp_path)
    with pytest.raises(UsageError, match=r"--output .*optim\.lr=tag"):
        search([*FIXED, SPACE[0]], trials=2, seed=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data=scenes"], r"choice.*range.*interval"),
        (["optim.lr=interval(1,"], r"setting=value"),
        (["optim.lr=interval(2, 1)"], r"interval\(2, 1\)"),
        (["optim.lr=tag(log, interval(0, 1))"], r"interval\(0, 1\).* above 0"),
        (["optim.lr=glob(*)"], r"glob.*choice"),
        (["no.such=1", "optim.lr=interval(1, 2)"], r"no\.such"),
        (["data=nowhere", "optim.lr=interval(1, 2)"], r"nowhere"),
    ],
)
def test_wrong_settings_are_refused_before_training(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        search(settings, trials=1, seed=0, folder=tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_at_least_one_trial_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["optim.lr=interval(1, 2)", "--trials", "0"])
    assert stopped.value.code == 2
    assert "--trials 0" in capsys.readouterr().err


def test_settings_stand_before_and_after_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown setting after the options ends the search before it starts, so all settings were read."""
    settings = ["optim.lr=interval(1, 2)", "--trials", "1", "no.such=1", "--output", str(tmp_path / "search")]
    with pytest.raises(SystemExit):
        main(settings)
    assert "error: unknown setting no.such" in capsys.readouterr().err


def test_a_trial_with_impossible_settings_stops_the_search(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="num_heads"):
        search([*FIXED, "model.decoder.num_heads=choice(3,5)"], trials=1, seed=0, folder=tmp_path)
