"""Greedy search against an argmax loop without a cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captioner.decoding import GreedySearch, SpecialTokens
from captioner.models.decoders.transformer import TransformerDecoder

PAD, BOS, EOS, UNK = range(4)
SPECIAL = SpecialTokens(pad=PAD, begin=BOS, end=EOS, banned=(UNK,))


def decoder(seed: int, max_length: int = 12) -> TransformerDecoder:
    torch.manual_seed(seed)
    made = TransformerDecoder(6, 8, depth=2, num_heads=2, max_length=max_length, tie_weights=False)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.7)
    return made.eval()


@torch.no_grad()
def argmax_loop(model: TransformerDecoder, image: Tensor, max_length: int) -> tuple[list[int], list[float]]:
    """Greedy decoding of one image without a cache: a full pass over the prefix for each token."""
    tokens, logprobs = [BOS], []
    for t in range(max_length):
        step = model(torch.tensor([[tokens]]), image[None]).logits[0, 0, -1].log_softmax(-1)
        options = [EOS] if t + 1 == max_length else [EOS, *range(4, 6)]
        token = max(options, key=lambda option: float(step[option]))
        tokens.append(token)
        logprobs.append(float(step[token]))
        if token == EOS:
            break
    return tokens[1:], logprobs


@pytest.mark.parametrize("max_length", [1, 3, 8, 50])
def test_greedy_search_equals_an_argmax_loop(max_length: int) -> None:
    lengths = set()
    for seed in range(4):
        model = decoder(seed)
        memory = 2 * torch.randn(5, 3, 8)
        result = GreedySearch(max_length=max_length)(model, memory, SPECIAL)
        longest = min(max_length, model.max_length)
        assert result.tokens.shape == result.token_logprobs.shape == (5, 1, longest)
        for b in range(5):
            tokens, logprobs = argmax_loop(model, memory[b], longest)
            lengths.add(len(tokens))
            assert result.tokens[b, 0].tolist() == tokens + [PAD] * (longest - len(tokens))
            expected = torch.tensor(logprobs + [0.0] * (longest - len(tokens)))
            torch.testing.assert_close(result.token_logprobs[b, 0], expected, atol=1e-4, rtol=0)
            torch.testing.assert_close(
                float(result.scores[b, 0]), sum(logprobs) / len(tokens) ** 0.7, atol=1e-4, rtol=1e-4
            )
    assert max_length == 1 or len(lengths) > 1  # some end early, others at the limit


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_tokens_do_not_depend_on_the_length_penalty(length_penalty: float) -> None:
    memory = torch.randn(3, 3, 8)
    default = GreedySearch(max_length=8)(decoder(0), memory, SPECIAL)
    other = GreedySearch(max_length=8, length_penalty=length_penalty)(decoder(0), memory, SPECIAL)
    assert torch.equal(default.tokens, other.tokens)
    length = (other.tokens != PAD).sum(-1)
    torch.testing.assert_close(other.scores, other.token_logprobs.sum(-1) / length**length_penalty)


def test_greedy_search_stops_when_every_caption_has_ended() -> None:
    model = decoder(0)
    with torch.no_grad():
        assert model.head is not None
        model.head.weight.zero_()
        model.head.weight[EOS] = 1.0
        model.norm.weight.zero_()
        model.norm.bias.fill_(1.0)
    steps: list[int] = []
    model.layers.register_forward_hook(lambda *_: steps.append(1))
    result = GreedySearch(max_length=8)(model, torch.randn(3, 3, 8), SPECIAL)
    assert result.tokens[:, 0, 0].tolist() == [EOS] * 3
    assert len(steps) == 1
