from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes import Scenes
from captioner.decoding import make_search
from captioner.evaluation.captions import Record
from captioner.evaluation.worst_and_best import choose, write_worst_and_best
from captioner.explain.methods import make_methods
from captioner.pipeline import load


@given(st.lists(st.floats(0, 10), max_size=12), st.integers(1, 9))
def test_the_worst_half_and_the_best_half_are_chosen_once_each(values: list[float], count: int) -> None:
    records = [Record(i, str(i), "a dog", 0.0, {}) for i in range(len(values))]
    scores = {str(i): {"BLEU-1": 0.5, "CIDEr-D": value} for i, value in enumerate(values)}
    chosen = choose(records, scores, count=count)
    found = [scores[record.image]["CIDEr-D"] for record in chosen]
    assert len({record.image for record in chosen}) == len(chosen) == min(count, len(values))
    assert found == sorted(found)
    worst = (count + 1) // 2 if len(values) > count else 0
    assert found[:worst] == sorted(values)[:worst]
    assert found[worst:] == sorted(values)[len(values) - len(found) + worst :]


def test_without_cider_the_first_metric_decides() -> None:
    records = [Record(i, str(i), "a dog", 0.0, {}) for i in range(3)]
    scores = {"0": {"BLEU-1": 0.9}, "1": {"BLEU-1": 0.1}, "2": {"BLEU-1": 0.5}}
    assert [record.image for record in choose(records, scores, count=2)] == ["1", "0"]


@pytest.mark.parametrize("text", [None, "what only its own batch would say"])
def test_a_caption_that_differs_alone_is_taken_from_its_batch(
    text: str | None, tiny_model: Path, tmp_path: Path
) -> None:
    """Rounding differs with the batch. The page shows the image with the caption of its batch either way."""
    scenes, pipeline, search = (
        Scenes("test", size=5, image_size=48),
        load(tiny_model),
        make_search(1, max_length=6),
    )
    record = Record(
        4, scenes[4].id, text or pipeline.caption(scenes.photo(4), beam_size=1, max_length=6)[0].text, 0.0, {}
    )
    write_worst_and_best(
        tmp_path / "index.html",
        [record],
        {record.image: {"CIDEr-D": 1.25}},
        pipeline=pipeline,
        dataset=scenes,
        search=search,
        methods=make_methods("attention", pipeline.model.captioner, card=pipeline.card),
        batches=[range(3), range(3, 5)],
        title="Worst and best",
    )
    page = (tmp_path / "index.html").read_text()
    assert page.count('<section class="entry"') == 1
    assert f"{record.image} · CIDEr-D 1.25" in page
