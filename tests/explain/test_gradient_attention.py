from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.errors import UsageError
from captioner.explain.gradient_attention import GradientAttention, gather_relevance
from captioner.explain.self_attention import encoder_weights, image_layers, weights_of
from captioner.explain.teacher_forcing import CaptionedBatch, token_logprobs
from captioner.models.captioner import Captioner
from captioner.models.encoders.encoder import ImageEncoder
from tests.explain.conftest import SPECIAL, captioned, decoder_layers, make_captioner

Matrix = NDArray[np.float64]


def beyond(relevance: Matrix) -> Matrix:
    """Equations 8 and 9."""
    identity = np.eye(relevance.shape[1])[-len(relevance) :]
    rest = relevance - identity
    sums = rest.sum(axis=1, keepdims=True)
    share: Matrix = np.divide(rest, sums, out=np.zeros_like(rest), where=sums > 0)
    return share + identity


def by_loops(batch: CaptionedBatch, b: int, word: int, *, readable: bool) -> Matrix:
    """Relevance `[N]` of one word, layer by layer and head by head, after the paper."""
    captioner = batch.captioner
    image = batch.images[b : b + 1].clone().requires_grad_()
    with encoder_weights(captioner.encoder.model) as in_encoder:
        tokens = captioner.encoder(image)
    with weights_of(image_layers(captioner)) as in_bridge:
        memory = captioner.bridge(tokens)
    layers = decoder_layers(captioner)
    with (
        weights_of([layer.self_attention for layer in layers]) as own,
        weights_of([layer.cross_attention for layer in layers]) as cross,
    ):
        logprob = token_logprobs(captioner, memory.features, batch.tokens[b : b + 1, None], SPECIAL)[
            0, 0, word
        ]

    def average(weights: Tensor) -> Matrix:
        (gradient,) = torch.autograd.grad(logprob, weights, retain_graph=True)
        heads = [
            np.maximum((gradient[0, h] * weights[0, h]).detach().double().numpy(), 0)
            for h in range(weights.shape[1])
        ]
        mean: Matrix = np.mean(heads, axis=0)
        return mean

    encoder = [average(w) for w in in_encoder] if readable else []
    N = memory.features.shape[1]
    first = encoder[0].shape[0] if encoder else N
    r_ii = np.eye(first)
    for a in encoder:
        r_ii = r_ii + a @ r_ii
    r_ii = r_ii[-N:]
    for a in map(average, in_bridge):
        r_ii = r_ii + a @ r_ii
    L = batch.tokens.shape[1]
    r_ss, r_si = np.eye(L), np.zeros((L, first))
    reads = [("read", average(a)) for a in own]
    looks = [("look", average(c)) for c in cross]
    in_turn = [step for layer in zip(reads, looks, strict=True) for step in layer]
    for step, a in [*reads, *looks] if layers.self_attention_first else in_turn:
        if step == "read":
            r_ss, r_si = r_ss + a @ r_ss, r_si + a @ r_si
        else:
            r_si = r_si + beyond(r_ss).T @ a[:, -N:] @ beyond(r_ii)
    relevance: Matrix = r_si[word]
    return relevance


@pytest.mark.parametrize("level", [None, 2])
def test_all_words_at_once_are_the_papers_rules_word_by_word(vit: Captioner, level: int | None) -> None:
    captioner = vit if level is None else make_captioner(ImageEncoder("test_vit", (32, 48), level=level))
    batch = captioned(captioner)
    maps = GradientAttention()(batch)
    assert maps.shape == (3, 5, 2, 3)
    for b in (0, 2):
        for word in range(int((batch.tokens[b] != 0).sum())):
            expected = by_loops(batch, b, word, readable=True)[-6:].reshape(2, 3)
            np.testing.assert_allclose(maps[b, word], expected, rtol=1e-3, atol=1e-7)
    assert float(maps.min()) >= 0
    assert float(maps[0].max()) > 1e-4


def test_where_all_read_first_the_papers_rules_take_that_order() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("test_vit", (32, 48), trainable="none")
    batch = captioned(make_captioner(encoder, sentinel=True, self_attention_first=True))
    maps = GradientAttention()(batch)
    for word in range(5):
        expected = by_loops(batch, 0, word, readable=True)[-6:].reshape(2, 3)
        np.testing.assert_allclose(maps[0, word], expected, rtol=1e-3, atol=1e-7)


def test_without_readable_attention_relevance_starts_at_the_grid(cnn: Captioner) -> None:
    batch = captioned(cnn)
    maps = GradientAttention()(batch)
    for word in range(5):
        expected = by_loops(batch, 0, word, readable=False).reshape(4, 6)
        np.testing.assert_allclose(maps[0, word], expected, rtol=1e-3, atol=1e-7)


def test_a_word_that_depends_on_one_token_alone_is_only_there() -> None:
    cross = torch.zeros(2, 2, 4)
    cross[0, 0, 1], cross[1, 1, 3] = 0.5, 0.25
    relevance = gather_relevance([], [torch.zeros(2, 2, 2)], [cross])
    assert relevance.tolist() == [[0, 0.5, 0, 0], [0, 0, 0, 0.25]]


def test_other_decoders_are_refused(cnn: Captioner, lstm: Captioner) -> None:
    GradientAttention().check(cnn)
    with pytest.raises(UsageError, match=r"explain=gradient_attention .*Transformer"):
        GradientAttention().check(lstm)
