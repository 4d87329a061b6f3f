"""Any search, and several models, through the pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import captioner
from captioner.bundle import Bundle, save
from captioner.decoding import make_search
from captioner.errors import UsageError
from captioner.pipeline import CaptionPipeline
from captioner.text.tokenizer import Tokenizer


def pictures(count: int) -> list[NDArray[np.uint8]]:
    return [
        np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in range(count)
    ]


def test_sampled_captions_depend_on_seed_and_place_but_not_on_the_batch(random_model: Bundle) -> None:
    pipeline = CaptionPipeline(random_model)
    photos = pictures(5)
    search = make_search(method="sample", samples=4, seed=3, max_length=9)
    runs = [
        [(c.text, c.others) for c in pipeline.caption(photos, search=search, batch_size=size)]
        for size in (1, 2, 5)
    ]
    assert [text for text, _ in runs[0]] == [text for text, _ in runs[1]] == [text for text, _ in runs[2]]
    for text, others in runs[0]:
        assert text not in [other.text for other in others]
        assert len({other.text for other in others}) == len(others)
    # A photo that cannot be read keeps its number.
    with_bad = list(pipeline.stream([photos[0], b"", photos[2]], search=search, batch_size=2))
    assert with_bad[2].caption is not None
    assert with_bad[2].caption.text == runs[0][2][0]
    another = make_search(method="sample", samples=4, seed=4, max_length=9)
    assert [c.text for c in pipeline.caption(photos, search=another)] != [text for text, _ in runs[0]]


def test_a_model_with_itself_is_that_model(random_model: Bundle, tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", random_model)
    alone = CaptionPipeline(random_model).caption(pictures(3), max_length=9)
    joined = captioner.load(tmp_path / "a.safetensors", device="cpu", ensemble=[tmp_path / "a.safetensors"])
    for a, b in zip(alone, joined.caption(pictures(3), max_length=9), strict=True):
        assert a.text == b.text
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_models_of_other_vocabularies_are_not_joined(random_model: Bundle) -> None:
    other = replace(random_model, tokenizer=Tokenizer.train(["some other words"]))
    with pytest.raises(
        UsageError, match=r"model 2 of the ensemble has another vocabulary \(7 tokens\) than the first"
    ):
        CaptionPipeline(random_model, ensemble=[other])
