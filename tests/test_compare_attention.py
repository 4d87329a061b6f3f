"""Does the comparison of attention train what its rows say, and does its table come whole into a page?"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from captioner.build import build

SCRIPT = Path(__file__).parent.parent / "scripts" / "compare_attention.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("compare_attention", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("data", ["scenes", "flickr8k"])
def test_every_row_is_another_model(script: Any, data: str) -> None:
    root = ["data.root=x"] if data == "flickr8k" else []
    found = {}
    for decoder, rows in script.rows_of(data).items():
        for name, change in rows.items():
            cfg = script.composed(
                "train", f"data={data}", *root, *script.BUDGETS[data], *script.changes(decoder, change)
            )
            small = {
                "vocab_size": 9,
                "dim": 8,
                "max_length": 4,
                **({"depth": 1} if decoder == "transformer" else {}),
            }
            build({**cfg.model.decoder, **small})
            found[decoder, name] = f"{cfg.model} {cfg.encoder} {cfg.objective}"
    assert len(set(found.values())) == len(found)  # no two rows train the same
    assert {decoder for decoder, _ in found} == {"transformer", "lstm"}


@pytest.mark.parametrize("data", ["scenes", "flickr8k"])
def test_every_budget_can_be_composed(script: Any, data: str) -> None:
    root = ["data.root=x"] if data == "flickr8k" else []
    cfg = script.composed("train", f"data={data}", *root, *script.BUDGETS[data])
    assert cfg.cache.views >= 1
    script.composed("evaluate", f"data={data}", *root, *script.SEARCH[data], "model=x")


def run(score: float, **more: float) -> dict[str, float]:
    return {"BLEU-4": score, "CIDEr-D": 10 * score, "images_per_core_second": 7.0, **more}


def test_the_table_has_means_and_spreads(script: Any) -> None:
    rows = {
        "scenes": [
            {
                "decoder": "lstm",
                "attention": "dot",
                "runs": [run(1.0, pointing_game=50.0), run(3.0, pointing_game=52.0)],
            }
        ],
        "flickr8k": [
            {"decoder": "lstm", "attention": "dot", "runs": [run(20.0)]},
            {"decoder": "lstm", "attention": "sink", "runs": [run(21.0)]},
        ],
    }
    lines = script.markdown(rows).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "scenes: pointing" in lines[0]
    assert "flickr8k: pointing" not in lines[0]
    assert lines[2].startswith("| lstm | dot | 2.0 ± 1.4 | 20.0 ± 14.1 | 51.0 ± 1.4 | 7 ± 0 | 20.0 |")
    assert lines[3].startswith("| lstm | sink |  |")


def test_the_table_comes_into_its_place(script: Any) -> None:
    begin, end = script.MARKS
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert script.placed("| new |\n", page) == f"before\n{begin}\n| new |\n{end}\nafter\n"
    with pytest.raises(SystemExit, match="no place for the table"):
        script.placed("| new |\n", "before\nafter\n")
