"""Small random decoders, and exhaustive enumeration of their captions."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from captioner.decoding import Hypotheses, SpecialTokens
from captioner.models.decoders.decoder import Decoder
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder

PAD, BOS, EOS, UNK = range(4)
SPECIAL = SpecialTokens(pad=PAD, begin=BOS, end=EOS, banned=(UNK,))
N, D = 3, 8


def decoder(words: int, *, seed: int = 0, max_length: int = 12) -> TransformerDecoder:
    """A Transformer decoder of `words` words after the four control tokens, with large random weights."""
    torch.manual_seed(seed)
    made = TransformerDecoder(4 + words, D, depth=2, num_heads=2, max_length=max_length, tie_weights=False)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.7)
    return made.eval()


def memory(images: int, seed: int = 1) -> Tensor:
    return torch.randn(images, N, D, generator=torch.Generator().manual_seed(seed))


def forced_logprobs(model: Decoder, image: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities `[..., L]` of captions `[C, L]` of one image, by teacher forcing."""
    inputs = torch.cat([torch.full_like(tokens[:, :1], BOS), tokens[:, :-1]], dim=1)
    with torch.no_grad():
        logprobs = model(inputs[None], image[None]).logits[0].log_softmax(-1)
    return logprobs.gather(-1, tokens[..., None])[..., 0] * (tokens != PAD)


def ranked_captions(
    model: Decoder, image: Tensor, words: int, max_length: int, length_penalty: float
) -> list[tuple[float, list[int]]]:
    """All captions up to `max_length` with their scores, best first."""
    scored: list[tuple[float, list[int]]] = []
    for count in range(max_length):
        tokens = [[*body, EOS] for body in itertools.product(range(4, 4 + words), repeat=count)]
        total = forced_logprobs(model, image, torch.tensor(tokens)).sum(-1)
        scores = total / (count + 1) ** length_penalty
        scored += zip(scores.tolist(), tokens, strict=True)
    return sorted(scored, reverse=True)


def captions(hypotheses: Hypotheses) -> list[list[list[int]]]:
    """The tokens of each caption of each image, without padding."""
    return [[[t for t in row if t != PAD] for row in image] for image in hypotheses.tokens.tolist()]


def allow_words(words: int, vocab_size: int) -> SpecialTokens:
    """All but the first `words` words banned, so that vocabulary and beam may be larger than what is enumerated."""
    return SpecialTokens(pad=PAD, begin=BOS, end=EOS, banned=(UNK, *range(4 + words, vocab_size)))


def lstm(words: int, *, seed: int = 0, max_length: int = 12) -> LstmDecoder:
    """An LSTM decoder, otherwise as `decoder`."""
    torch.manual_seed(seed)
    made = LstmDecoder(4 + words, D, max_length=max_length)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.7)
    return made.eval()
