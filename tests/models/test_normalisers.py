from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from captioner.errors import UsageError
from captioner.models.normalisers import (
    NORMALISERS,
    SoftmaxWithSink,
    entmax15,
    make_normaliser,
    off_by_one,
    softmax,
    sparsemax,
)

H = 2
SUM_TO_ONE = ("softmax", "sparsemax", "entmax15")
INF = float("-inf")


def scores(N: int = 7, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(N)
    return torch.randn(3, H, 4, N, generator=generator, dtype=torch.float64).mul(scale).to(dtype)


def by_bisection(scores: Tensor, power: int) -> Tensor:
    """max(0, s / power - τ) ** power with the τ for which it sums to 1, found by halving."""
    z = scores / power
    low, high = z.amax(-1, keepdim=True) - 1, z.amax(-1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        too_much = (z - middle).clamp(min=0).pow(power).sum(-1, keepdim=True) > 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    return (z - low).clamp(min=0).pow(power)


@pytest.mark.parametrize("N", [1, 2, 5, 196])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0, 100.0])
def test_the_sparse_two_equal_bisection(N: int, scale: float) -> None:
    s = scores(N, scale)
    torch.testing.assert_close(sparsemax(s), by_bisection(s, 1), atol=1e-12, rtol=0)
    torch.testing.assert_close(entmax15(s), by_bisection(s, 2), atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_the_sparse_two_equal_the_library(scale: float) -> None:
    entmax = pytest.importorskip("entmax")
    s = scores(49, scale)
    torch.testing.assert_close(sparsemax(s), entmax.sparsemax(s, dim=-1), atol=1e-12, rtol=0)
    torch.testing.assert_close(entmax15(s), entmax.entmax15(s, dim=-1), atol=1e-12, rtol=0)


def test_the_others_are_their_formulas() -> None:
    s = scores()
    e = s.exp()
    torch.testing.assert_close(softmax(s), e / e.sum(-1, keepdim=True))
    torch.testing.assert_close(off_by_one(s), e / (1 + e.sum(-1, keepdim=True)))
    sink = SoftmaxWithSink(H).double()
    torch.testing.assert_close(sink(s), off_by_one(s))
    b = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    sink.sink.data.copy_(b)
    torch.testing.assert_close(sink(s), e / (b.exp()[:, None, None] + e.sum(-1, keepdim=True)))


@pytest.mark.parametrize("name", NORMALISERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_are_shares_and_a_mask_is_exact(name: str, dtype: torch.dtype) -> None:
    normalise = make_normaliser(name, H)
    s = scores(9, 3.0, dtype)
    hidden = torch.rand(s.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    hidden[..., 4] = False
    weights = normalise(s.masked_fill(hidden, INF))
    assert weights.dtype == dtype
    assert torch.equal(weights[hidden], torch.zeros_like(weights[hidden]))
    assert float(weights.detach().min()) >= 0
    total = weights.detach().sum(-1).double()
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-6
    if name in SUM_TO_ONE:
        torch.testing.assert_close(total, torch.ones_like(total), atol=tolerance, rtol=0)
    else:
        assert float(total.max()) < 1 + tolerance
    # What is hidden might as well not be there.
    row = s[0, 0, 0].masked_fill(hidden[0, 0, 0], INF)
    rest = row[row > INF].expand(1, H, 1, -1)
    torch.testing.assert_close(
        normalise(rest)[0, 0, 0], weights[0, 0, 0][row > INF], atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize("name", NORMALISERS)
def test_one_key_alone_and_keys_all_alike(name: str) -> None:
    normalise = make_normaliser(name, H)
    alone, alike = normalise(torch.full((1, H, 1, 1), 0.3)), normalise(torch.zeros(1, H, 1, 8))
    if name in SUM_TO_ONE:
        torch.testing.assert_close(alone, torch.ones_like(alone))
        torch.testing.assert_close(alike, torch.full_like(alike, 1 / 8))
    else:
        torch.testing.assert_close(alike, torch.full_like(alike, 1 / 9))


@given(st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=40))
def test_the_sparse_two_keep_order_and_sum_for_any_scores(values: list[float]) -> None:
    s = torch.tensor(values)
    for normalise in (sparsemax, entmax15):
        weights = normalise(s)
        assert abs(float(weights.sum()) - 1) < 1e-5
        assert bool((weights[s.argsort()].diff() >= 0).all())


def test_scores_far_apart_leave_one_key() -> None:
    s = torch.tensor([0.0, -3.0, 1.5, -1e30])
    for normalise in (sparsemax, entmax15):
        assert torch.equal(normalise(s * 4), torch.tensor([0.0, 0.0, 1.0, 0.0]))


@pytest.mark.parametrize("name", NORMALISERS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_finite_differences(name: str, masked: bool) -> None:
    normalise = make_normaliser(name, H)
    if isinstance(normalise, SoftmaxWithSink):
        normalise = normalise.double()
    s = scores(5, 0.7)[:1, :, :1].clone().requires_grad_()
    hidden = torch.zeros(5, dtype=torch.bool)
    hidden[2] = masked
    assert torch.autograd.gradcheck(lambda s: normalise(s.masked_fill(hidden, INF)), s)
    if isinstance(normalise, SoftmaxWithSink):
        normalise(s.detach())[..., 0].sum().backward()
        assert normalise.sink.grad is not None
        assert bool((normalise.sink.grad < 0).all())


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(
        UsageError,
        match=r"normaliser='softmaks' .*softmax, sparsemax, entmax15, off_by_one, sink",
    ):
        make_normaliser("softmaks", H)
