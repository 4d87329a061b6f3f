"""Does the search draw what it is told to, train it, and go on where it was?"""

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


def test_trials_are_runs_and_a_search_goes_on_where_it_was(
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
    for row in table:  # what the table says is what the run was
        card = load(folder / f"{int(row['trial']):03}" / "model.safetensors").card
        assert card["scores"]["val/CIDEr-D"] == float(row["val/CIDEr-D"])
        assert card["settings"]["optim"]["lr"] == float(row["optim.lr"])
        assert card["settings"]["model"]["decoder"]["score"] == row["model.decoder.score"]
        assert 1e-4 <= float(row["optim.lr"]) <= 1e-2
    assert len({row["optim.lr"] for row in table}) == 3
    assert f"best of 3: val/CIDEr-D {scores[0]:.4f} in trial {table[0]['trial']}" in capsys.readouterr().out


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    search([*FIXED, *SPACE], trials=1, seed=0, folder=tmp_path)
    with pytest.raises(
        UsageError, match=r"holds a search of other settings .*optim\.lr=tag.* another folder"
    ):
        search([*FIXED, SPACE[0]], trials=2, seed=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data=scenes"], r"nothing is searched: give at least one"),
        (["optim.lr=interval(1,"], r"write settings as setting=value"),
        (["optim.lr=interval(2, 1)"], r"from a lower value to a higher"),
        (["optim.lr=tag(log, interval(0, 1))"], r"a log scale begins above 0"),
        (["optim.lr=glob(*)"], r"search by choice"),
        (["no.such=1", "optim.lr=interval(1, 2)"], r"no\.such|Could not override"),
        (["data=nowhere", "optim.lr=interval(1, 2)"], r"nowhere"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_training(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        search(settings, trials=1, seed=0, folder=tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_trials_must_be_some(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["optim.lr=interval(1, 2)", "--trials", "0"])
    assert stopped.value.code == 2
    assert "--trials 0 must be at least 1" in capsys.readouterr().err


def test_settings_stand_before_and_after_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting there is not ends the search before it begins: here after the one that was given first was read."""
    settings = ["optim.lr=interval(1, 2)", "--trials", "1", "no.such=1", "--output", str(tmp_path / "search")]
    with pytest.raises(SystemExit):
        main(settings)
    assert "error: Could not override 'no.such'" in capsys.readouterr().err


def test_a_trial_that_cannot_be_trained_stops_the_search_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="num_heads"):
        search([*FIXED, "model.decoder.num_heads=choice(3,5)"], trials=1, seed=0, folder=tmp_path)
