"""Contrastive search against a plain implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from captioner.decoding import ContrastiveSearch, GreedySearch
from captioner.errors import UsageError
from captioner.models.decoders.cache import DecoderCache
from captioner.models.decoders.decoder import Decoder
from tests.decoding.conftest import BOS, EOS, PAD, SPECIAL, captions, decoder, lstm, memory


@torch.no_grad()
def hidden_and_probabilities(model: Decoder, image: Tensor, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """The hidden state after the tokens and the probabilities of the next one, step by step for one caption."""
    cache = model.init_cache(image[None])
    for token in tokens:
        logits, cache = model.step(torch.tensor([[token]]), cache)
    return cache.hidden[0, 0], logits[0, 0].softmax(-1)


@pytest.mark.parametrize("make_decoder", [decoder, lstm])
@pytest.mark.parametrize("alpha", [0.6, 0.9])
def test_contrastive_search_equals_a_plain_implementation(
    make_decoder: Callable[..., Decoder], alpha: float
) -> None:
    words, max_length, candidates = 6, 6, 3
    num_different = 0
    for seed in range(2):
        model, images = make_decoder(words, seed=seed), memory(2, seed=seed)
        result = ContrastiveSearch(candidates, alpha=alpha, max_length=max_length)(model, images, SPECIAL)
        for b in range(2):
            caption: list[int] = []
            while EOS not in caption:
                states = [
                    hidden_and_probabilities(model, images[b], [BOS, *caption[:n]])[0]
                    for n in range(len(caption) + 1)
                ]
                p = hidden_and_probabilities(model, images[b], [BOS, *caption])[1]
                allowed = [EOS] if len(caption) + 1 == max_length else [EOS, *range(4, 4 + words)]
                values = {}
                for token in sorted(allowed, key=lambda token: -float(p[token]))[:candidates]:
                    state = hidden_and_probabilities(model, images[b], [BOS, *caption, token])[0]
                    similarity = max(float(cosine_similarity(state, past, dim=0)) for past in states)
                    values[token] = (1 - alpha) * float(p[token]) - alpha * similarity
                caption.append(max(values, key=lambda token: values[token]))
            assert captions(result)[b] == [caption]
        greedy = GreedySearch(max_length=max_length)(model, images, SPECIAL)
        num_different += not torch.equal(greedy.tokens, result.tokens)
    assert num_different or alpha < 0.9


@pytest.mark.parametrize("settings", [{"alpha": 0.0}, {"candidates": 1, "alpha": 0.9}])
def test_alpha_0_or_one_candidate_is_greedy_search(settings: dict[str, Any]) -> None:
    model, images = decoder(9), memory(5)
    result = ContrastiveSearch(**settings, max_length=9)(model, images, SPECIAL)
    greedy = GreedySearch(max_length=9)(model, images, SPECIAL)
    assert torch.equal(result.tokens, greedy.tokens)
    torch.testing.assert_close(result.token_logprobs, greedy.token_logprobs, atol=1e-5, rtol=1e-5)


def test_a_decoder_without_hidden_states_is_refused() -> None:
    model = decoder(5)
    plain = model.step

    def step(tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        logits, cache = plain(tokens, cache)
        cache.hidden = None
        return logits, cache

    model.step = step  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=r"method=contrastive .*hidden state"):
        ContrastiveSearch(max_length=5)(model, memory(1), SPECIAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": 0}, "candidates=0 "),
        ({"alpha": -0.1}, "alpha=-0.1 .*0 and at most 1"),
        ({"alpha": math.nan}, "alpha=nan .*0 and at most 1"),
        ({"alpha": "x"}, "alpha='x' .*0 and at most 1"),
    ],
)
def test_out_of_range_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ContrastiveSearch(**arguments)


def test_only_padding_follows_eos() -> None:
    result = ContrastiveSearch(3, max_length=9)(decoder(9), memory(6), SPECIAL)
    for tokens in result.tokens[:, 0].tolist():
        assert set(tokens[tokens.index(EOS) + 1 :]) <= {PAD}
