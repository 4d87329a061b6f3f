"""Ensembles against their members and the formulas of both averages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captioner.decoding import (
    BeamSearch,
    ContrastiveSearch,
    EnsembleDecoder,
    EnsembleSearch,
    GreedySearch,
    SampleSearch,
    Search,
)
from captioner.errors import UsageError
from tests.decoding.conftest import EOS, SPECIAL, captions, decoder, lstm, memory


@pytest.mark.parametrize("average", ["logprobs", "probs"])
@pytest.mark.parametrize(
    "search",
    [
        GreedySearch(max_length=9),
        BeamSearch(3, max_length=9),
        SampleSearch(2, max_length=9),
        ContrastiveSearch(max_length=9),
    ],
)
def test_an_ensemble_of_copies_equals_the_model(search: Search, average: str) -> None:
    model, images = decoder(8), memory(4)
    alone = search(model, images, SPECIAL)
    for others in ([], [(model, images)], [(model, images), (model, images)]):
        result = EnsembleSearch(search, others, average=average)(model, images, SPECIAL)
        assert torch.equal(result.tokens, alone.tokens)
        torch.testing.assert_close(result.token_logprobs, alone.token_logprobs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def next_logprobs(model: torch.nn.Module, image: Tensor, inputs: list[int]) -> Tensor:
    logprobs: Tensor = model(torch.tensor([[inputs]]), image[None]).logits[0, 0].log_softmax(-1)
    return logprobs


@pytest.mark.parametrize("average", ["logprobs", "probs"])
def test_averages_equal_their_formula(average: str) -> None:
    # Decoders of different kinds; memories of different images and lengths.
    models = [decoder(6, seed=1), decoder(6, seed=2), lstm(6, seed=3)]
    memories = [memory(3), memory(3, seed=5), torch.randn(3, 5, 8)]
    others = list(zip(models[1:], memories[1:], strict=True))
    result = EnsembleSearch(BeamSearch(3, max_length=6), others, average=average)(
        models[0], memories[0], SPECIAL
    )
    for b, of_image in enumerate(captions(result)):
        for k, caption in enumerate(of_image):
            members = torch.stack(
                [next_logprobs(m, x[b], [1, *caption[:-1]]) for m, x in zip(models, memories, strict=True)]
            )
            ensemble = (
                members.mean(0).log_softmax(-1) if average == "logprobs" else members.exp().mean(0).log()
            )
            expected = ensemble.gather(1, torch.tensor(caption)[:, None])[:, 0]
            torch.testing.assert_close(
                result.token_logprobs[b, k, : len(caption)], expected, atol=1e-4, rtol=1e-4
            )
            assert caption[-1] == EOS


def test_the_smallest_max_length_applies() -> None:
    model, images = decoder(6), memory(2)
    ensemble = EnsembleDecoder(model, [(decoder(6, max_length=4), images)])
    assert GreedySearch(max_length=9)(ensemble, images, SPECIAL).tokens.shape[2] == 4


def test_different_vocabularies_and_unknown_averages_are_refused() -> None:
    model, images = decoder(6), memory(2)
    with pytest.raises(UsageError, match=r"10, 11 tokens.* tokenizer"):
        EnsembleSearch(GreedySearch(), [(decoder(7), images)])(model, images, SPECIAL)
    with pytest.raises(UsageError, match=r"average=prob .*logprobs, probs; did you mean probs"):
        EnsembleDecoder(model, [], average="prob")
