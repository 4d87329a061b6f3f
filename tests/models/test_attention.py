from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.models.attention import KeyValue, MultiHeadAttention, attend

B, H, Q, N, d = 2, 3, 4, 5, 6


def textbook(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention as the paper writes it, one query at a time."""
    out, weights = torch.zeros_like(q), torch.zeros(*q.shape[:3], k.shape[2], dtype=q.dtype)
    for b, h, i in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        raised = [
            math.exp(float(q[b, h, i] @ k[b, h, j]) / math.sqrt(q.shape[-1]))
            if allowed is None or allowed[b, h, i, j]
            else 0.0
            for j in range(k.shape[2])
        ]
        for j, value in enumerate(raised):
            weights[b, h, i, j] = value / sum(raised)
            out[b, h, i] += weights[b, h, i, j] * v[b, h, j]
    return out, weights


def random_inputs(queries: int = Q, dtype: torch.dtype = torch.float64) -> tuple[Tensor, KeyValue]:
    torch.manual_seed(0)
    q = torch.randn(B, H, queries, d, dtype=dtype)
    return q, KeyValue(torch.randn(B, H, N, d, dtype=dtype), torch.randn(B, H, N, d, dtype=dtype))


def random_mask() -> Tensor:
    allowed = torch.rand(B, H, Q, N, generator=torch.Generator().manual_seed(1)) < 0.5
    allowed[..., 0] = True  # every query sees something
    return allowed


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attend_equals_the_textbook(masked: bool, need_weights: bool) -> None:
    q, memory = random_inputs()
    allowed = random_mask() if masked else None
    out, weights = attend(q, memory, allowed=allowed, need_weights=need_weights)
    expected, expected_weights = textbook(q, memory.keys, memory.values, allowed)
    torch.testing.assert_close(out, expected)
    if need_weights:
        assert weights is not None
        torch.testing.assert_close(weights, expected_weights)
    else:
        assert weights is None


@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_means_no_later_key(need_weights: bool) -> None:
    q, memory = random_inputs(queries=N)
    out, _ = attend(q, memory, causal=True, need_weights=need_weights)
    allowed = (torch.arange(N)[:, None] >= torch.arange(N)).expand(B, H, N, N)
    torch.testing.assert_close(out, textbook(q, memory.keys, memory.values, allowed)[0])


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_broadcast_mask_equals_the_full_one(need_weights: bool) -> None:
    q, memory = random_inputs()
    padding = torch.tensor([[True, True, False, False, True], [True, False, False, False, False]])
    small, _ = attend(q, memory, allowed=padding[:, None, None], need_weights=need_weights)
    full, _ = attend(
        q, memory, allowed=padding[:, None, None].expand(B, H, Q, N).clone(), need_weights=need_weights
    )
    torch.testing.assert_close(small, full)
    of_keys = torch.tensor([True, False, True, True, False])  # alike for all
    small, _ = attend(q, memory, allowed=of_keys, need_weights=need_weights, fused=not need_weights)
    full, _ = attend(q, memory, allowed=of_keys.expand(B, H, Q, N), need_weights=True)
    torch.testing.assert_close(small, full)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_fused_path_equals_the_path_with_weights(causal: bool, grad: bool) -> None:
    q, memory = random_inputs(queries=N, dtype=torch.float32)
    with torch.set_grad_enabled(grad):  # on a CPU each takes another kernel
        fused, _ = attend(q, memory, causal=causal)
    out, weights = attend(q, memory, causal=causal, need_weights=True)
    assert weights is not None
    torch.testing.assert_close(fused, out, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, H, N), atol=1e-6, rtol=0)
    # The weights returned are the weights used.
    torch.testing.assert_close(weights @ memory.values, out)
    assert float(weights.min()) >= 0


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("masking", ["none", "allowed", "causal"])
def test_gradients_are_those_of_finite_differences(masking: str, need_weights: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    allowed = torch.tensor([[True, False, True], [True, True, False], [False, False, True]])

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        out, weights = attend(
            q,
            KeyValue(k, v),
            allowed=allowed if masking == "allowed" else None,
            causal=masking == "causal",
            need_weights=need_weights,
        )
        return (out,) if weights is None else (out, weights)

    assert torch.autograd.gradcheck(run, (q, k, v))


def test_a_mask_and_causal_together_are_refused() -> None:
    q, memory = random_inputs(queries=N)
    for need_weights in (False, True):
        with pytest.raises(ValueError, match="not both"):
            attend(
                q, memory, allowed=torch.ones(N, N, dtype=torch.bool), causal=True, need_weights=need_weights
            )


def copied(dim: int, num_heads: int) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(dim, num_heads, batch_first=True)
    for bias in (reference.in_proj_bias, reference.out_proj.bias):
        nn.init.normal_(bias)
    ours = MultiHeadAttention(dim, num_heads)
    with torch.no_grad():
        ours.query.weight.copy_(reference.in_proj_weight[:dim])
        ours.query.bias.copy_(reference.in_proj_bias[:dim])
        ours.key_value.weight.copy_(reference.in_proj_weight[dim:])
        ours.key_value.bias.copy_(reference.in_proj_bias[dim:])
        ours.out.load_state_dict(reference.out_proj.state_dict())
    return ours, reference


@pytest.mark.parametrize(("dim", "num_heads"), [(12, 1), (12, 3), (12, 12)])
@pytest.mark.parametrize("masked", [False, True])
def test_parity_with_torchs_module(dim: int, num_heads: int, masked: bool) -> None:
    ours, reference = copied(dim, num_heads)
    x, context = torch.randn(B, Q, dim), torch.randn(B, N, dim)
    allowed = random_mask()[0, 0] if masked else None
    expected, expected_weights = reference(
        x, context, context, attn_mask=None if allowed is None else ~allowed, average_attn_weights=False
    )
    out, weights = ours(x, ours.project(context), allowed=allowed, need_weights=True)
    fused, _ = ours(x, ours.project(context), allowed=allowed)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)


def test_parity_with_torchs_function_in_causal_self_attention() -> None:
    ours, reference = copied(12, 3)
    x = torch.randn(B, N, 12)
    expected, expected_weights = F.multi_head_attention_forward(
        x.transpose(0, 1),
        x.transpose(0, 1),
        x.transpose(0, 1),
        12,
        3,
        reference.in_proj_weight,
        reference.in_proj_bias,
        None,
        None,
        False,
        0.0,
        reference.out_proj.weight,
        reference.out_proj.bias,
        attn_mask=torch.ones(N, N, dtype=torch.bool).triu(1),
        average_attn_weights=False,
    )
    out, weights = ours(x, ours.project(x), causal=True, need_weights=True)
    torch.testing.assert_close(out, expected.transpose(0, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)


def test_bfloat16_autocast_stays_near_and_shows_true_weights() -> None:
    ours, _ = copied(12, 3)
    x, context = torch.randn(B, Q, 12), torch.randn(B, N, 12)
    expected, _ = ours(x, ours.project(context))
    with torch.autocast("cpu", torch.bfloat16):
        fused, _ = ours(x, ours.project(context))
        out, weights = ours(x, ours.project(context), need_weights=True)
    torch.testing.assert_close(fused.float(), expected, atol=0.05, rtol=0.05)
    torch.testing.assert_close(out.float(), expected, atol=0.05, rtol=0.05)
    torch.testing.assert_close(weights.float().sum(-1), torch.ones(B, 3, Q), atol=0.02, rtol=0)


@pytest.mark.parametrize("num_heads", [0, -1, 5, 7])
def test_heads_must_divide_the_width(num_heads: int) -> None:
    with pytest.raises(UsageError, match=f"num_heads={num_heads} .*dim=6"):
        MultiHeadAttention(6, num_heads)
