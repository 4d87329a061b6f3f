"""Rows, budgets and table of scripts/compare_attention.py."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from captioner.build import build
from tests.conftest import TINY

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("compare_attention")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("data", ["scenes", "flickr8k"])
def test_every_row_is_another_model(script: Any, data: str) -> None:
    root = ["data.root=x"] if data == "flickr8k" else []
    rows = {}
    for decoder, names in script.rows_of(data).items():
        for name, overrides in names.items():
            settings = [*root, *script.BUDGETS[data], *script.overrides_of(decoder, overrides)]
            cfg = script.composed("train", f"data={data}", *settings)
            small = {"vocab_size": 9, "dim": 8, "max_length": 4}
            small |= {"depth": 1} if decoder == "transformer" else {}
            build({**cfg.model.decoder, **small}, kind="decoder")
            rows[decoder, name] = f"{cfg.model} {cfg.encoder} {cfg.objective}"
    assert len(set(rows.values())) == len(rows)
    assert {decoder for decoder, _ in rows} == {"transformer", "lstm"}


@pytest.mark.parametrize("data", ["scenes", "flickr8k"])
def test_every_budget_composes(script: Any, data: str) -> None:
    root = ["data.root=x"] if data == "flickr8k" else []
    cfg = script.composed("train", f"data={data}", *root, *script.BUDGETS[data])
    assert cfg.cache.views >= 1
    script.composed("evaluate", f"data={data}", *root, *script.SEARCH[data], "model=x")


def test_a_run_has_the_figures_of_all_columns(script: Any, tmp_path: Path) -> None:
    frozen = ["encoder.trainable=none", "cache=features", "cache.views=1"]
    train = ["data=scenes", *TINY, *frozen, "trainer.max_epochs=1", "model.decoder.sentinel=true"]
    test = ["data=scenes", "data.image_size=32", "data.test.size=4", "batch_size=4", "device=cpu"]
    figures = script.train_and_score(tmp_path, train, test)
    figures["images_per_core_second"] = script.speed(tmp_path / "model.safetensors", test, images=2, times=1)
    assert figures.keys() >= {key for key, _, _ in sys.modules["attention_table"].COLUMNS}


def figures(score: float, **more: float) -> dict[str, float]:
    return {"BLEU-4": score, "CIDEr-D": 10 * score, "images_per_core_second": 7.0, **more}


def test_the_table_has_means_and_standard_deviations(script: Any) -> None:
    dot = [figures(1.0, pointing_game=50.0), figures(3.0, pointing_game=52.0)]
    results = {
        "scenes": [{"decoder": "lstm", "attention": "dot", "runs": dot}],
        "flickr8k": [
            {"decoder": "lstm", "attention": "dot", "runs": [figures(20.0)]},
            {"decoder": "lstm", "attention": "sink", "runs": [figures(21.0)]},
        ],
    }
    lines = script.markdown(results).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "scenes: pointing game" in lines[0]
    assert "flickr8k: pointing game" not in lines[0]
    assert lines[2].startswith("| lstm | dot | 2.0 ± 1.4 | 20.0 ± 14.1 | 51.0 ± 1.4 | 7 ± 0 | 20.0 |")
    assert lines[3].startswith("| lstm | sink |  |")


def test_the_table_replaces_the_text_between_the_marks(script: Any) -> None:
    begin, end = sys.modules["attention_table"].MARKS
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert script.insert("| new |\n", page) == f"before\n{begin}\n| new |\n{end}\nafter\n"
    with pytest.raises(SystemExit, match=begin):
        script.insert("| new |\n", "before\nafter\n")


def test_the_published_table_has_the_script_s_rows_and_columns(script: Any) -> None:
    page = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
    begin, end = sys.modules["attention_table"].MARKS
    header, _, *lines = page.partition(f"{begin}\n")[2].partition(end)[0].splitlines()
    published = [tuple(line.split(" | ")[:2]) for line in (line.removeprefix("| ") for line in lines)]
    rows = {
        (decoder, name)
        for data in script.BUDGETS
        for decoder, names in script.rows_of(data).items()
        for name in names
    }
    assert set(published) == rows
    assert len(published) == len(rows)
    titles = {title for _, title, _ in sys.modules["attention_table"].COLUMNS}
    assert {column.partition(": ")[2] for column in header.strip("| ").split(" | ")[2:]} == titles
