from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from captioner.decoding import BeamSearch, GreedySearch, SpecialTokens
from captioner.errors import UsageError
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.scores import Additive

B, C, L, N, D, V = 2, 3, 6, 5, 8, 11

VARIANTS: dict[str, dict[str, object]] = {
    "show, attend and tell": {},
    "adaptive": {"sentinel": True},
    "hard": {"hard": True},
    "hard and adaptive": {"hard": True, "sentinel": True},
    "tied": {"tie_weights": True},
    "heads, scaled_dot": {"num_heads": 4, "num_kv_heads": 2, "score": "scaled_dot"},
    "entmax15, cosine, adaptive": {"normaliser": "entmax15", "score": "cosine", "sentinel": True},
    "sink": {"normaliser": "sink"},
}
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)


def decoder(**settings: object) -> LstmDecoder:
    torch.manual_seed(0)
    made = LstmDecoder(V, D, max_length=9, dropout=0.0, **settings)  # type: ignore[arg-type]
    with torch.no_grad():  # zero biases would hide what they do not reach
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made.eval()


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (B, C, L), generator=generator), torch.randn(B, N, D, generator=generator)


def lstm(cell: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM, gate by gate."""
    i, f, g, o = (cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def look(model: LstmDecoder, h: Tensor, a: Tensor, sentinel: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Additive attention of one head, token by token; a sentinel has keys and values of its own."""
    part = model.attention
    keys, values = [list(rows) for rows in part.key_value(a).chunk(2, dim=-1)]
    if sentinel is not None:
        assert part.sentinel_key_value is not None
        key, value = part.sentinel_key_value(sentinel).chunk(2)
        keys, values = [key, *keys], [value, *values]
    assert isinstance(part.score, Additive)
    scores = torch.stack([part.score.v[0] @ torch.tanh(part.query(h) + key) for key in keys])
    alpha = scores.exp() / scores.exp().sum()
    return part.out(sum(w * value for w, value in zip(alpha, values, strict=True))), alpha


@pytest.mark.parametrize("adaptive", [False, True])
@torch.no_grad()
def test_it_is_what_the_papers_write_word_by_word(adaptive: bool) -> None:
    model = decoder(sentinel=adaptive)
    tokens, memory = inputs()
    output = model(tokens, memory, need_weights=True)
    assert output.cross_attention is not None
    assert model.head is not None
    for b, c in ((0, 0), (1, 2)):
        a = memory[b]
        h = torch.tanh(model.init_hidden(a.mean(dim=0)))
        cell = torch.tanh(model.init_cell(a.mean(dim=0)))
        for t in range(L):
            y = model.token_embedding.weight[tokens[b, c, t]] * D**0.5
            if model.sentinel is not None:
                x = torch.cat([y, a.mean(dim=0)])
                before = h
                h, cell = lstm(model.cell, x, h, cell)
                gate = torch.sigmoid(model.sentinel.from_input(x) + model.sentinel.from_state(before))
                context, alpha = look(model, h, a, gate * torch.tanh(cell))
            else:
                assert model.gate is not None
                context, alpha = look(model, h, a)
                context = torch.sigmoid(model.gate(h)) * context
                h, cell = lstm(model.cell, torch.cat([y, context]), h, cell)
            logits = model.head(y + model.from_hidden(h) + model.from_context(context))
            torch.testing.assert_close(output.logits[b, c, t], logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(output.cross_attention[b, c, t, 0, 0], alpha, atol=1e-5, rtol=0)


@variants
@torch.no_grad()
def test_a_cached_step_equals_the_full_forward(settings: dict[str, object]) -> None:
    model = decoder(**settings)
    tokens, memory = inputs()
    expected = model(tokens, memory).logits
    cache = model.init_cache(memory, num_beams=C)
    for t in range(L):
        logits, cache = model.step(tokens[:, :, t], cache)
        torch.testing.assert_close(logits, expected[:, :, t], atol=1e-5, rtol=0)
    assert cache.length == L


@variants
@pytest.mark.parametrize(
    "rows",
    [[[2, 0, 1], [1, 1, 1]], [[0], [2]], [[0, 1, 2, 2, 0], [1, 0, 0, 1, 2]]],
    ids=["same", "fewer", "more"],
)
@torch.no_grad()
def test_a_step_after_a_selection_equals_the_full_forward_of_what_was_selected(
    settings: dict[str, object], rows: list[list[int]]
) -> None:
    model = decoder(**settings)
    tokens, memory = inputs()
    selected = torch.tensor(rows)
    cache = model.init_cache(memory, num_beams=C)
    for t in range(3):
        _, cache = model.step(tokens[:, :, t], cache)
    cache.select(selected)
    kept = torch.stack([tokens[b, selected[b], :3] for b in range(B)])
    last = torch.randint(V, (*selected.shape, 1), generator=torch.Generator().manual_seed(2))
    expected = model(torch.cat([kept, last], dim=2), memory).logits[:, :, 3]
    logits, _ = model.step(last[:, :, 0], cache)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@variants
@torch.no_grad()
def test_asking_for_weights_changes_nothing_and_they_are_shares(settings: dict[str, object]) -> None:
    model = decoder(**settings)
    tokens, memory = inputs()
    plain, shown = model(tokens, memory), model(tokens, memory, need_weights=True)
    assert plain.cross_attention is None
    torch.testing.assert_close(plain.logits, shown.logits, atol=1e-5, rtol=0)
    weights = shown.cross_attention
    assert weights is not None
    assert weights.shape == (B, C, L, 1, settings.get("num_heads", 1), N + bool(settings.get("sentinel")))
    total = weights.sum(-1)
    if settings.get("normaliser") == "sink":
        assert 0 < float(total.max()) < 1 + 1e-6
    else:
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    if settings.get("hard"):
        assert torch.equal(weights.amax(-1), torch.ones_like(total))


@variants
@torch.no_grad()
def test_captions_images_and_later_tokens_are_not_seen(settings: dict[str, object]) -> None:
    model = decoder(**settings)
    tokens, memory = inputs()
    together = model(tokens, memory, need_weights=True)
    alone = model(tokens[1:, 2:, :4], memory[1:], need_weights=True)
    torch.testing.assert_close(alone.logits[0, 0], together.logits[1, 2, :4], atol=1e-5, rtol=0)
    assert alone.cross_attention is not None
    assert together.cross_attention is not None
    torch.testing.assert_close(
        alone.cross_attention[0, 0], together.cross_attention[1, 2, :4], atol=1e-5, rtol=0
    )


@variants
def test_every_weight_is_trained(settings: dict[str, object]) -> None:
    model = decoder(**settings).train()
    tokens, memory = inputs()
    output = model(tokens, memory)
    loss = output.logits.square().sum()
    if output.choice is not None:
        loss = loss + output.choice.logprob.sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@variants
def test_searches_find_what_teacher_forcing_says(settings: dict[str, object]) -> None:
    model = decoder(**settings)
    _, memory = inputs()
    special = SpecialTokens(pad=0, begin=1, end=2, banned=())
    for search in (GreedySearch(max_length=7), BeamSearch(3, max_length=7)):
        found = search(model, memory, special)
        whole = torch.cat([torch.full_like(found.tokens[:, :, :1], 1), found.tokens[:, :, :-1]], dim=2)
        with torch.no_grad():
            logprobs = model(whole, memory).logits.log_softmax(-1).gather(-1, found.tokens[..., None])[..., 0]
        real = found.tokens != special.pad
        torch.testing.assert_close(found.token_logprobs[real], logprobs[real], atol=1e-5, rtol=0)


def test_hard_attention_draws_while_it_learns_and_decides_afterwards() -> None:
    model = decoder(hard=True)
    tokens, memory = inputs()
    with torch.no_grad():
        assert torch.equal(model(tokens, memory).logits, model(tokens, memory).logits)
        model.train()
        first, second = (model(tokens, memory, need_weights=True) for _ in range(2))
    assert first.cross_attention is not None
    assert second.cross_attention is not None
    assert not torch.equal(first.cross_attention, second.cross_attention)
    assert first.choice is not None
    assert first.choice.logprob.shape == first.choice.entropy.shape == (B, C, L, 1)
    assert model.eval()(tokens, memory).choice is None


def test_it_runs_in_bfloat16() -> None:
    model = decoder(sentinel=True)
    tokens, memory = inputs()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(tokens, memory).logits
        torch.testing.assert_close(
            half.float(), model.float()(tokens, memory).logits.float(), atol=0.2, rtol=0.2
        )


@torch.no_grad()
def test_fused_attention_is_the_same_and_insists() -> None:
    tokens, memory = inputs()
    settings = {"score": "scaled_dot", "normaliser": "sink", "num_heads": 2}
    with FusedCalls() as calls:
        forced = decoder(fused=True, **settings)(tokens, memory).logits
        assert calls.count == L
        forbidden = decoder(fused=False, **settings)(tokens, memory).logits
        assert calls.count == L
    torch.testing.assert_close(forced, forbidden, atol=1e-5, rtol=0)


class FusedCalls(TorchFunctionMode):
    """Counts the calls of PyTorch's fused attention."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [LstmDecoder, TransformerDecoder])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normaliser": "sparsemax"}, "score=scaled_dot with normaliser=sparsemax; take fused=null"),
        ({"normaliser": "entmax15"}, "score=scaled_dot with normaliser=entmax15; take fused=null"),
        ({"score": "additive"}, "score=additive with normaliser=softmax; take fused=null"),
        ({"sentinel": True}, "score=scaled_dot with normaliser=softmax and a sentinel; take fused=null"),
    ],
)
def test_both_decoders_refuse_a_fused_kernel_that_does_not_exist(
    make: type[nn.Module], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=f"fused=true.*{said}"):
        make(V, D, fused=True, **{"score": "scaled_dot", **settings})


def test_a_caption_or_a_cache_that_is_too_long_is_refused() -> None:
    model = decoder()
    _, memory = inputs()
    with pytest.raises(UsageError, match=r"10 tokens.*max_length=9"):
        model(torch.zeros(B, 1, 10, dtype=torch.int64), memory)
    cache = model.init_cache(memory, max_length=2)
    for _ in range(2):
        model.step(torch.zeros(B, 1, dtype=torch.int64), cache)
    with pytest.raises(UsageError, match="the cache is full after 2 tokens"):
        model.step(torch.zeros(B, 1, dtype=torch.int64), cache)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_heads": 3}, "num_heads=3 does not divide dim=8"),
        ({"dropout": 1.0}, "decoder dropout=1.0 must be at least 0 and below 1"),
        ({"max_length": 0}, "decoder max_length=0 must be at least 1"),
        (
            {"hard": True, "normaliser": "sink"},
            "with normaliser=sink the weights do not sum to 1; take softmax",
        ),
        ({"score": "dots"}, "score='dots' is not known"),
        (
            {"fused": True, "hard": True, "score": "dot"},
            "fused=true, but no fused kernel computes hard attention",
        ),
    ],
)
def test_settings_that_are_not_allowed_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LstmDecoder(V, D, **settings)  # type: ignore[arg-type]
