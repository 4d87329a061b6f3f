"""Any search, and several models, through the pipeline."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
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


def other_model(model: Bundle) -> Bundle:
    """A second model with the same words and other opinions."""
    captioner = copy.deepcopy(model.captioner)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in captioner.decoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return replace(model, captioner=captioner)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("average", [None, "logprobs", "probs"])
def test_a_word_has_the_probability_it_has_among_its_alternatives(
    random_model: Bundle, precision: str, average: str | None
) -> None:
    ensemble = [other_model(random_model)] if average else []
    pipeline = CaptionPipeline(random_model, ensemble=ensemble, average=average or "logprobs")
    pipeline.engine.bf16 = precision == "bf16"  # this processor need not be quick at it
    captions = pipeline.caption(pictures(8), beam_size=2, max_length=9)
    found = 0
    for caption in captions:
        for word in caption.words:
            own = [other.logprob for other in word.alternatives if other.text == word.text]
            assert own == pytest.approx([word.logprob] * len(own), abs=1e-4)
            found += len(own)
            assert sum(np.exp(other.logprob) for other in word.alternatives) <= 1 + 1e-5
        if precision == "fp32":  # then it is the search's too
            length = len(caption.words) + 1
            assert caption.score == pytest.approx(caption.logprob / length**0.7, abs=1e-4)
    assert found > 8


def test_what_an_ensemble_thinks_of_a_word_is_not_what_its_first_model_thinks(random_model: Bundle) -> None:
    other = other_model(random_model)
    (joined,) = CaptionPipeline(random_model, ensemble=[other]).caption(pictures(1), max_length=9)
    alone = [CaptionPipeline(one).explain(pictures(1)[0], joined.text) for one in (random_model, other)]
    apart = max(abs(a.logprob - b.logprob) for a, b in zip(joined.words, alone[0].words, strict=True))
    assert apart > 0.01
    # Maps are the first model's.
    np.testing.assert_allclose(joined.maps, alone[0].maps, atol=1e-5)
    # At each place the averaged log-probabilities differ from the mean of both by what normalises them.
    for word, first, second in zip(joined.words, alone[0].words, alone[1].words, strict=True):
        assert word.logprob >= (first.logprob + second.logprob) / 2 - 1e-4


def test_models_of_other_vocabularies_are_not_joined(random_model: Bundle) -> None:
    other = replace(random_model, tokenizer=Tokenizer.train(["some other words"]))
    with pytest.raises(UsageError, match=r"model 2 of the ensemble .* vocabulary \(7 tokens\)"):
        CaptionPipeline(random_model, ensemble=[other])
