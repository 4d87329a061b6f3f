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
def test_one_model_or_the_same_twice_is_that_model(search: Search, average: str) -> None:
    model, images = decoder(8), memory(4)
    alone = search(model, images, SPECIAL)
    for others in ([], [(model, images)], [(model, images), (model, images)]):
        found = EnsembleSearch(search, others, average=average)(model, images, SPECIAL)
        assert torch.equal(found.tokens, alone.tokens)
        torch.testing.assert_close(found.token_logprobs, alone.token_logprobs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def steps(model: torch.nn.Module, image: Tensor, inputs: list[int]) -> Tensor:
    logprobs: Tensor = model(torch.tensor([[inputs]]), image[None]).logits[0, 0].log_softmax(-1)
    return logprobs


@pytest.mark.parametrize("average", ["logprobs", "probs"])
def test_log_probabilities_are_averaged_as_the_formula_says(average: str) -> None:
    # Different kinds, different memories, even of different length.
    models = [decoder(6, seed=1), decoder(6, seed=2), lstm(6, seed=3)]
    memories = [memory(3), memory(3, seed=5), torch.randn(3, 5, 8)]
    others = list(zip(models[1:], memories[1:], strict=True))
    found = EnsembleSearch(BeamSearch(3, max_length=6), others, average=average)(
        models[0], memories[0], SPECIAL
    )
    for b, of_image in enumerate(captions(found)):
        for k, caption in enumerate(of_image):
            each = torch.stack(
                [steps(m, x[b], [1, *caption[:-1]]) for m, x in zip(models, memories, strict=True)]
            )
            joined = each.mean(0).log_softmax(-1) if average == "logprobs" else each.exp().mean(0).log()
            expected = joined.gather(1, torch.tensor(caption)[:, None])[:, 0]
            torch.testing.assert_close(
                found.token_logprobs[b, k, : len(caption)], expected, atol=1e-4, rtol=1e-4
            )
            assert caption[-1] == EOS


def test_the_shortest_reach_counts() -> None:
    model, images = decoder(6), memory(2)
    joined = EnsembleDecoder(model, [(decoder(6, max_length=4), images)])
    assert GreedySearch(max_length=9)(joined, images, SPECIAL).tokens.shape[2] == 4


def test_other_vocabularies_and_averages_are_refused() -> None:
    model, images = decoder(6), memory(2)
    with pytest.raises(UsageError, match=r"10, 11 tokens.*tokenizer"):
        EnsembleSearch(GreedySearch(), [(decoder(7), images)])(model, images, SPECIAL)
    with pytest.raises(UsageError, match=r"average=mean .*logprobs, probs"):
        EnsembleDecoder(model, [], average="mean")
