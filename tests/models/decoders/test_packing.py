"""Does leaving the padding out change nothing, neither the loss nor a gradient?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.packing import Packing
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.objectives.teacher_forcing import TeacherForcing

B, C, L, N, D, V, PAD = 3, 4, 7, 5, 8, 11, 0

TRANSFORMERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary with a sentinel": {"positions": "rotary", "sentinel": True},
    "all read first, with a sentinel": {"self_attention_first": True, "sentinel": True},
    "grouped, cosine and sparse": {"num_kv_heads": 1, "score": "cosine", "normaliser": "sparsemax"},
    "additive with a sink": {"score": "additive", "normaliser": "sink", "positions": "sinusoidal"},
}
LSTMS: dict[str, dict[str, Any]] = {"soft": {}, "adaptive": {"sentinel": True}}


def batch() -> tuple[Tensor, Tensor]:
    """Memory and captions of all lengths: one fills its row, one image lacks a caption, one has none."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, V, (B, C, L + 1), generator=generator)
    lengths = torch.tensor([[8, 3, 5, 2], [4, 7, 0, 6], [0, 0, 0, 0]])
    tokens[torch.arange(L + 1) >= lengths[..., None]] = PAD
    return torch.randn(B, N, D, generator=generator, dtype=torch.float64), tokens


def make(kind: str, settings: dict[str, Any]) -> TransformerDecoder | LstmDecoder:
    torch.manual_seed(1)
    if kind == "lstm":
        return LstmDecoder(V, D, max_length=L, dropout=0.0, **settings).double()
    return TransformerDecoder(V, D, depth=2, num_heads=2, max_length=L, dropout=0.0, **settings).double()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("transformer", s) for s in TRANSFORMERS.values()] + [("lstm", s) for s in LSTMS.values()],
    ids=[*TRANSFORMERS, *LSTMS],
)
def test_loss_and_gradients_are_those_of_the_padded_batch(kind: str, settings: dict[str, Any]) -> None:
    decoder, (memory, tokens) = make(kind, settings), batch()
    memory.requires_grad_()
    objective = TeacherForcing(label_smoothing=0.1, z_loss=0.1)
    inputs, targets = tokens[:, :, :-1], tokens[:, :, 1:]
    real = targets != PAD

    def learn(logits: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        loss = torch.stack(list(objective.terms(logits, targets, pad_id=PAD).values())).sum()
        return loss, list(torch.autograd.grad(loss, [memory, *decoder.parameters()]))

    loss, gradients = learn(decoder(inputs, memory).logits, targets)
    packed = decoder(inputs, memory, real=real).logits
    assert packed.shape == (int(real.sum()), V)
    packed_loss, packed_gradients = learn(packed, targets[real])
    # The objective computes in float32.
    torch.testing.assert_close(packed_loss, loss, rtol=1e-6, atol=0)
    for found, wanted in zip(packed_gradients, gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_batch_without_any_word_costs_nothing(kind: str) -> None:
    decoder, (memory, tokens) = make(kind, {}), batch()
    real = torch.zeros(B, C, L, dtype=torch.bool)
    logits = decoder(tokens[:, :, :-1], memory, real=real).logits
    assert logits.shape == (0, V)
    loss = TeacherForcing().terms(logits, tokens[:, :, 1:][real], pad_id=PAD)["cross_entropy"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in decoder.parameters())


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_attention_of_packed_words_is_refused(kind: str) -> None:
    decoder, (memory, tokens) = make(kind, {}), batch()
    inputs = tokens[:, :, :-1]
    with pytest.raises(UsageError, match=r"need_weights=True"):
        decoder(inputs, memory, need_weights=True, real=inputs != PAD)


def test_words_come_back_from_where_they_were_laid() -> None:
    _, tokens = batch()
    real = tokens[:, :, 1:] != PAD
    packing = Packing(real)
    words = torch.randn(int(real.sum()), 2, dtype=torch.float64, requires_grad=True)
    for layout, rows in ((packing.captions, B * C), (packing.images, B)):
        padded = layout.spread(words)
        assert padded.shape[0] == rows
        assert torch.equal(layout.gather(padded), words)
        assert torch.equal(
            padded.sum(dim=(0, 1)).detach().round(decimals=9), words.sum(dim=0).detach().round(decimals=9)
        )
        assert torch.autograd.gradcheck(lambda w, x=layout: x.gather(x.spread(w).square()), words)
    # An image's words stand side by side, however its captions end.
    assert packing.images.length == int(real.flatten(1).sum(dim=1).max())
