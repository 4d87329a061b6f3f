"""Does every decoder learn to look? A toy: one cell of a noisy grid holds a thing, and the caption says "a THING"."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.objectives.teacher_forcing import TeacherForcing

THINGS, N, D, IMAGES = 6, 9, 32, 96
PAD, BEGIN, END, ARTICLE = 0, 1, 2, 3

TRANSFORMERS: dict[str, dict[str, object]] = {
    "plain": {},
    "dot": {"score": "dot"},
    "general": {"score": "general"},
    "additive": {"score": "additive"},
    "biased_dot": {"score": "biased_dot"},
    "cosine": {"score": "cosine"},
    "sparsemax": {"normaliser": "sparsemax"},
    "entmax15": {"normaliser": "entmax15"},
    "off_by_one": {"normaliser": "off_by_one"},
    "sink": {"normaliser": "sink"},
    "sentinel": {"sentinel": True},
    "read first": {"self_attention_first": True},
    "grouped": {"num_kv_heads": 1},
    "rotary": {"positions": "rotary"},
    "sinusoidal": {"positions": "sinusoidal"},
}
LSTMS: dict[str, dict[str, object]] = {
    "lstm": {},
    "lstm, adaptive": {"sentinel": True},
    "lstm, hard": {"hard": True},
    "lstm, sparse": {"normaliser": "entmax15", "score": "scaled_dot"},
}


def toy() -> tuple[Tensor, Tensor, Tensor]:
    """Memories `[IMAGES, N, D]`, captions `[IMAGES, 1, 4]`, and the cell of each thing."""
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(THINGS, D, generator=generator)
    things = torch.randint(THINGS, (IMAGES,), generator=generator)
    places = torch.randint(N, (IMAGES,), generator=generator)
    memory = 0.3 * torch.randn(IMAGES, N, D, generator=generator)
    memory[torch.arange(IMAGES), places] += looks[things]
    begin, article, end = (torch.full((IMAGES,), token) for token in (BEGIN, ARTICLE, END))
    return memory, torch.stack([begin, article, ARTICLE + 1 + things, end], dim=1)[:, None], places


def fit(
    model: TransformerDecoder | LstmDecoder, steps: int, image_attention_penalty: float = 0.0
) -> tuple[float, Tensor, Tensor]:
    """Train; the negative log-likelihood afterwards, the attention `[IMAGES, L, N]` at each token, and the places."""
    memory, tokens, places = toy()
    objective = TeacherForcing(image_attention_penalty=image_attention_penalty)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    torch.manual_seed(1)
    model.train()
    for step in range(steps):
        penalty = objective.image_attention_penalty * step / steps
        output = model(tokens[:, :, :-1], memory, need_weights=penalty > 0)
        attention = output.cross_attention
        terms = objective.terms(
            output.logits,
            tokens[:, :, 1:],
            pad_id=PAD,
            attention=None if attention is None else attention[..., -N:],
            penalty=penalty,
            choice=output.choice,
        )
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model(tokens[:, :, :-1], memory, need_weights=True)
        loss = objective.terms(output.logits, tokens[:, :, 1:], pad_id=PAD)["cross_entropy"]
    assert output.cross_attention is not None
    return float(loss), output.cross_attention.mean(dim=(3, 4))[:, 0, :, -N:], places


def looked_at(attention: Tensor, places: Tensor) -> float:
    """Share of images whose thing is where the attention of its word is highest."""
    return float((attention[:, 1].argmax(dim=-1) == places).float().mean())


@pytest.mark.parametrize("settings", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_a_transformer_learns_what_is_there_and_where_to_look(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = TransformerDecoder(
        ARTICLE + 1 + THINGS,
        D,
        depth=1,
        num_heads=2,
        max_length=4,
        dropout=0.0,
        **settings,  # type: ignore[arg-type]
    )
    loss, attention, places = fit(model, 60)
    assert loss < 0.1  # of ln(6) / 3 = 0.60 for who does not look
    assert looked_at(attention, places) > 0.5  # of 1 / 9 by chance


@pytest.mark.parametrize("settings", LSTMS.values(), ids=LSTMS)
def test_an_lstm_learns_what_is_there_and_where_to_look(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = LstmDecoder(ARTICLE + 1 + THINGS, D, max_length=4, dropout=0.0, **settings)  # type: ignore[arg-type]
    loss, attention, places = fit(model, 100)
    assert loss < 0.1
    assert looked_at(attention, places) > 0.5  # of 1 / 9 by chance


@pytest.mark.parametrize("decoder", ["transformer", "lstm"])
def test_a_sentinel_learns_that_only_the_noun_needs_the_picture(decoder: str) -> None:
    torch.manual_seed(0)
    words = ARTICLE + 1 + THINGS
    if decoder == "transformer":
        model: TransformerDecoder | LstmDecoder = TransformerDecoder(
            words, D, depth=1, num_heads=2, max_length=4, dropout=0.0, sentinel=True
        )
    else:
        model = LstmDecoder(words, D, max_length=4, dropout=0.0, sentinel=True)
    _, attention, _ = fit(model, 100)
    article, noun, end = attention.sum(dim=-1).mean(dim=0).tolist()  # visual mass
    assert noun > 0.8
    assert noun > article + 0.1
    assert noun > end + 0.1


@pytest.mark.parametrize(
    "settings",
    [{"sentinel": True}, {"normaliser": "sink"}, {"normaliser": "off_by_one"}],
    ids=["sentinel", "sink", "off_by_one"],
)
@pytest.mark.parametrize("decoder", ["transformer", "read-first transformer", "lstm"])
def test_with_a_price_on_looking_only_the_noun_looks(decoder: str, settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    words = ARTICLE + 1 + THINGS
    if decoder != "lstm":
        model: TransformerDecoder | LstmDecoder = TransformerDecoder(
            words,
            D,
            self_attention_first=decoder == "read-first transformer",
            depth=3,
            num_heads=2,
            max_length=4,
            dropout=0.0,
            **settings,  # type: ignore[arg-type]
        )
    else:
        model = LstmDecoder(words, D, max_length=4, dropout=0.0, **settings)  # type: ignore[arg-type]
    loss, attention, places = fit(model, 200, image_attention_penalty=0.1)
    article, noun, end = attention.sum(dim=-1).mean(dim=0).tolist()  # visual mass
    assert loss < 0.1
    assert noun > 3 * max(article, end)
    assert looked_at(attention, places) > 0.5
