"""Does every combination of score, normaliser, sentinel and grouped heads keep what attention promises?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.attention import KeyValue, MultiHeadAttention
from captioner.models.normalisers import NORMALISERS
from captioner.models.scores import SCORES

B, H, Q, N, D = 2, 4, 5, 6, 8
d = D // H
FUSED = {"softmax", "off_by_one", "sink"}
ALL = list(itertools.product(SCORES, NORMALISERS, [False, True], [4, 2, 1]))


def made(score: str, normaliser: str, sentinel: bool = False, kv_heads: int = H) -> MultiHeadAttention:
    torch.manual_seed(0)
    attention = MultiHeadAttention(
        D, H, num_kv_heads=kv_heads, score=score, normaliser=normaliser, sentinel=sentinel
    )
    for parameter in attention.parameters():  # what starts at 0 would hide itself
        nn.init.normal_(parameter, std=0.5)
    return attention


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, context, sentinel = (torch.randn(B, n, D, generator=generator) for n in (Q, N, Q))
    return x.to(dtype), context.to(dtype), sentinel.to(dtype)


def mask() -> Tensor:
    allowed = torch.rand(B, 1, Q, N, generator=torch.Generator().manual_seed(2)) < 0.6
    allowed[..., 0] = True
    return allowed


def split(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], -1, d).transpose(1, 2)


@pytest.mark.parametrize(("score", "normaliser", "sentinel", "kv_heads"), ALL)
@torch.no_grad()
def test_the_weights_returned_are_the_weights_used(
    score: str, normaliser: str, sentinel: bool, kv_heads: int
) -> None:
    attention = made(score, normaliser, sentinel, kv_heads)
    x, context, own = inputs()
    memory, allowed = attention.project(context), mask()
    out, weights = attention(x, memory, sentinel=own, allowed=allowed, need_weights=True)
    assert weights.shape == (B, H, Q, N + sentinel)
    # A mask is exact, and weights are shares.
    on_image = weights[..., sentinel:]
    assert not on_image.masked_select(~allowed.expand_as(on_image)).any()
    assert float(weights.min()) >= 0
    total = weights.sum(-1)
    if normaliser in ("off_by_one", "sink"):
        assert float(total.max()) < 1 + 1e-6
        assert float(total.min()) < 0.99
    else:
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    # The output is these weights on these values: query head h reads key-value head h // (H / G).
    values = memory.values[:, [h * kv_heads // H for h in range(H)]]
    expected = on_image @ values
    if attention.sentinel_key_value is not None:
        own_values = split(attention.sentinel_key_value(own).chunk(2, dim=-1)[1])
        expected = expected + weights[..., :1] * own_values[:, [h * kv_heads // H for h in range(H)]]
    torch.testing.assert_close(out, attention.out(expected.transpose(1, 2).flatten(-2)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("score", "normaliser", "sentinel", "kv_heads"), ALL)
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_the_path_without_weights_gives_the_same(
    score: str, normaliser: str, sentinel: bool, kv_heads: int, masked: bool
) -> None:
    attention = made(score, normaliser, sentinel, kv_heads)
    x, context, own = inputs()
    memory, allowed = attention.project(context), mask() if masked else None
    shown, _ = attention(x, memory, sentinel=own, allowed=allowed, need_weights=True)
    plain, weights = attention(x, memory, sentinel=own, allowed=allowed)
    assert weights is None
    torch.testing.assert_close(plain, shown, atol=1e-5, rtol=0)
    attention.fused = True
    if score != "additive" and normaliser in FUSED and not sentinel:
        fused, _ = attention(x, memory, sentinel=own, allowed=allowed)
        torch.testing.assert_close(fused, shown, atol=1e-5, rtol=0)
    else:
        with pytest.raises(UsageError, match="fused kernel"):
            attention(x, memory, sentinel=own, allowed=allowed)
    attention.fused = False
    forbidden, _ = attention(x, memory, sentinel=own, allowed=allowed)
    assert torch.equal(forbidden, shown)


@pytest.mark.parametrize("score", [name for name in SCORES if name != "additive"])
@pytest.mark.parametrize("normaliser", sorted(FUSED))
@torch.no_grad()
def test_causal_attention_is_the_same_on_both_paths(score: str, normaliser: str) -> None:
    attention = made(score, normaliser)
    x, _, _ = inputs()
    fused, _ = attention(x, attention.project(x), causal=True)
    shown, weights = attention(x, attention.project(x), causal=True, need_weights=True)
    torch.testing.assert_close(fused, shown, atol=1e-5, rtol=0)
    assert not weights.masked_select(torch.ones(Q, Q, dtype=torch.bool).triu(1)).any()


@pytest.mark.parametrize(("score", "normaliser"), [(s, n) for s in SCORES for n in NORMALISERS])
@pytest.mark.parametrize("sentinel", [False, True])
def test_gradients_are_those_of_finite_differences(score: str, normaliser: str, sentinel: bool) -> None:
    attention = made(score, normaliser, sentinel, kv_heads=2).double()
    x, context, own = (v[:1, :2].clone().requires_grad_() for v in inputs(torch.float64))
    allowed = torch.tensor([[True, True], [True, False]])

    def run(x: Tensor, context: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = attention(
            x, attention.project(context), sentinel=own, allowed=allowed, need_weights=True
        )
        return out

    assert torch.autograd.gradcheck(run, (x, context, own), fast_mode=True)


@pytest.mark.parametrize("score", [name for name in SCORES if name != "additive"])
@pytest.mark.parametrize("normaliser", sorted(FUSED))
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("masking", ["none", "allowed", "causal"])
def test_gradients_of_the_fused_path_are_those_of_the_path_with_weights(
    score: str, normaliser: str, kv_heads: int, masking: str
) -> None:
    attention = made(score, normaliser, kv_heads=kv_heads).double()
    x, context, _ = inputs(torch.float64)
    if masking == "causal":
        context = torch.randn(B, Q, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rules = {"allowed": mask() if masking == "allowed" else None, "causal": masking == "causal"}
    aim = torch.randn(B, Q, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def gradients(fused: bool) -> list[Tensor]:
        attention.fused = fused
        given = [x.clone().requires_grad_(), context.clone().requires_grad_()]
        out, _ = attention(given[0], attention.project(given[1]), need_weights=not fused, **rules)
        return list(torch.autograd.grad((out * aim).sum(), [*given, *attention.parameters()]))

    names = ["x", "context", *(name for name, _ in attention.named_parameters())]
    for name, found, wanted in zip(names, gradients(True), gradients(False), strict=True):
        assert torch.allclose(found, wanted, atol=1e-10, rtol=1e-9), name


@pytest.mark.parametrize("sentinel", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_every_parameter_learns(score: str, sentinel: bool) -> None:
    attention = made(score, "sink", sentinel, kv_heads=2)
    x, context, own = inputs()
    out, _ = attention(x, attention.project(context), sentinel=own)
    out.square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_the_sentinel_competes_with_the_image() -> None:
    attention = made("scaled_dot", "softmax", sentinel=True)
    x, context, own = inputs()
    memory = attention.project(context)
    _, before = attention(x, memory, sentinel=own, need_weights=True)
    assert attention.sentinel_key_value is not None
    keys = split(attention.sentinel_key_value(own).chunk(2, dim=-1)[0])
    queries = split(attention.query(x))
    scores = torch.cat(
        [(queries * keys).sum(-1, keepdim=True), queries @ memory.keys.transpose(-2, -1)], dim=-1
    )
    torch.testing.assert_close(before, (scores / d**0.5).softmax(-1), atol=1e-5, rtol=0)
    # One query's sentinel is nobody else's.
    other = own.clone()
    other[:, 2] += 1
    _, after = attention(x, memory, sentinel=other, need_weights=True)
    same = (before == after).all(dim=-1).all(dim=1)
    assert same.tolist() == [[True, True, False, True, True]] * B


@torch.no_grad()
def test_one_head_of_keys_for_all_is_the_same_as_equal_heads() -> None:
    grouped, full = made("scaled_dot", "softmax", kv_heads=2), made("scaled_dot", "softmax")
    x, context, _ = inputs()
    for part in ("query", "out"):
        getattr(full, part).load_state_dict(getattr(grouped, part).state_dict())
    shared = grouped.project(context)
    repeated = KeyValue(shared.keys[:, [0, 0, 1, 1]], shared.values[:, [0, 0, 1, 1]])
    for need_weights in (False, True):
        one, _ = grouped(x, shared, need_weights=need_weights)
        other, _ = full(x, repeated, need_weights=need_weights)
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kv_heads", [0, -1, 3, 8])
def test_key_value_heads_must_divide_the_heads(kv_heads: int) -> None:
    with pytest.raises(UsageError, match=f"num_kv_heads={kv_heads} .*num_heads=4"):
        MultiHeadAttention(D, H, num_kv_heads=kv_heads)


def test_settings_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(UsageError, match=r"fused='often' .*true, false.*null"):
        MultiHeadAttention(D, H, fused="often")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"num_kv_heads=2\.0 does not divide"):
        MultiHeadAttention(D, H, num_kv_heads=2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"score": "additive"}, "score=additive with normaliser=softmax.*fused=null"),
        ({"normaliser": "sparsemax"}, "score=scaled_dot with normaliser=sparsemax.*fused=null"),
        ({"normaliser": "entmax15"}, "normaliser=entmax15.*fused=null"),
        ({"sentinel": True}, "normaliser=softmax and a sentinel.*fused=null"),
    ],
)
def test_a_fused_kernel_that_does_not_exist_is_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"fused=true.*{said}"):
        MultiHeadAttention(D, H, fused=True, **settings)
