from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from captioner.errors import UsageError
from captioner.models.scores import SCORES, Cosine, Score, make_score

B, H, Q, N, d = 2, 3, 4, 5, 6


def made(name: str) -> Score:
    torch.manual_seed(0)
    score = make_score(name, H, d)
    assert isinstance(score, nn.Module)
    for parameter in score.double().parameters():  # what starts at 0 would hide itself
        nn.init.normal_(parameter)
    return score.requires_grad_(False)


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(B, H, n, d, generator=generator, dtype=torch.float64) for n in (Q, N))  # type: ignore[return-value]


def scored(score: Score, queries: Tensor, keys: Tensor) -> Tensor:
    """The scores of keys that are prepared first."""
    return score(queries, *score.prepare(keys))


def norm(x: Tensor) -> float:
    return math.sqrt(float(x @ x))


FORMULAS: dict[str, Callable[[Any, int, Tensor, Tensor], float]] = {
    "scaled_dot": lambda _, h, q, k: float(q @ k) / math.sqrt(d),
    "dot": lambda _, h, q, k: float(q @ k),
    "general": lambda s, h, q, k: float(q @ s.weight[h] @ k),
    "additive": lambda s, h, q, k: float(s.v[h] @ torch.tanh(q + k)),
    "biased_dot": lambda s, h, q, k: float(q @ k) / math.sqrt(d) + float(s.v[h] @ torch.tanh(k)),
    "cosine": lambda s, h, q, k: math.exp(float(s.log_scale[h])) * float(q @ k) / norm(q) / norm(k),
}


def test_every_score_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(SCORES)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_formula_pair_by_pair(name: str) -> None:
    score, (q, k) = made(name), inputs()
    scores = scored(score, q, k)
    assert scores.shape == (B, H, Q, N)
    for b, h, i, j in torch.cartesian_prod(*map(torch.arange, scores.shape)).tolist():
        expected = FORMULAS[name](score, h, q[b, h, i], k[b, h, j])
        assert float(scores[b, h, i, j]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_the_inner_product_is_the_score(name: str) -> None:
    score, (q, k) = made(name), inputs()
    keys, bias = score.prepare(k)
    inner = score.inner(q, keys, bias)
    if name == "additive":
        assert inner is None
        return
    assert inner is not None
    product = inner.scale * inner.queries @ inner.keys.transpose(-2, -1)
    torch.testing.assert_close(product if inner.bias is None else product + inner.bias, scored(score, q, k))


@pytest.mark.parametrize("name", SCORES)
def test_what_depends_on_keys_alone_is_computed_once_for_all_queries(name: str) -> None:
    score, (q, k) = made(name), inputs()
    prepared = score.prepare(k)
    with FlopCounterMode(display=False) as one:
        score(q, *prepared)
    with FlopCounterMode(display=False) as other:
        made("additive" if name == "additive" else "dot")(q, k)
    # Beside the product of queries and keys there is at most q W.
    extra = 2 * B * H * Q * d * d if name == "general" else 0
    assert one.get_total_flops() == other.get_total_flops() + extra
    torch.testing.assert_close(
        torch.cat([score(q[:, :, i : i + 1], *prepared) for i in range(Q)], 2), scored(score, q, k)
    )


@pytest.mark.parametrize("name", SCORES)
def test_gradients_reach_queries_keys_and_parameters(name: str) -> None:
    score, (q, k) = made(name), inputs()
    assert isinstance(score, nn.Module)
    parameters = tuple(score.requires_grad_().parameters())
    small = (q[:1, :, :1].clone().requires_grad_(), k[:1, :, :2].clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda q, k, *_: scored(score, q, k), (*small, *parameters))


def test_a_learned_score_starts_as_the_scaled_dot_product() -> None:
    q, k = inputs()
    expected = scored(make_score("scaled_dot", H, d), q.float(), k.float())
    for name in ("general", "biased_dot"):
        torch.testing.assert_close(scored(make_score(name, H, d), q.float(), k.float()), expected)


def test_the_temperature_of_the_cosine_is_bounded() -> None:
    score = make_score("cosine", H, d)
    assert isinstance(score, Cosine)
    score.log_scale.data.fill_(50.0)
    x = torch.randn(1, H, 1, d)
    torch.testing.assert_close(scored(score, x, x), torch.full((1, H, 1, 1), 100.0))


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match=r"score='dots'.* scaled_dot, dot, .*did you mean dot"):
        make_score("dots", H, d)
