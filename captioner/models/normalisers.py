"""Normalisers of attention scores: softmax, sparsemax, 1.5-entmax, and softmax with a sink.

    softmax       wᵢ = exp sᵢ / Σⱼ exp sⱼ
    sparsemax     w  = argmin over the simplex of ‖w - s‖²       wᵢ = max(0, sᵢ - τ)
    entmax15      w  = argmax over the simplex of w·s + H₁.₅(w)   wᵢ = max(0, sᵢ/2 - τ)²
    off_by_one    wᵢ = exp sᵢ / (1 + Σⱼ exp sⱼ)
    sink          wᵢ = exp sᵢ / (exp b + Σⱼ exp sⱼ), b learned for each head

τ is the number for which the weights sum to 1. The sparse two give most keys a weight of exactly 0. With the last two
the weights may sum to less than 1: the rest goes to no key.

Sources: Martins & Astudillo 2016 (sparsemax); Peters, Niculae & Martins 2019 (entmax, its exact algorithm for 1.5);
Miller 2023, "Attention is off by one"; Xiao et al. 2023, "Efficient streaming language models with attention sinks".
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from captioner.errors import UsageError, did_you_mean

SPREAD = 2.0
"""Sparse functions give no weight to scores this far below the largest: the margin is 1; see `_centred`."""


class Normaliser(Protocol):
    """Scores `[B, H, Q, N]` in, weights of the same shape out; a score of -inf gets exactly 0."""

    def __call__(self, scores: Tensor) -> Tensor:
        """The weights of the scores `[B, H, Q, N]`, over the last axis."""
        ...


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return scores.softmax(dim=-1)


def sparsemax(scores: Tensor) -> Tensor:
    """Sparsemax over the last axis, exact: the nearest point of the simplex."""
    weights: Tensor = _Sparsemax.apply(scores.float() if scores.dtype != torch.float64 else scores)
    return weights.to(scores.dtype)


def entmax15(scores: Tensor) -> Tensor:
    """1.5-entmax over the last axis, exact: halfway between softmax and sparsemax."""
    weights: Tensor = _Entmax15.apply(scores.float() if scores.dtype != torch.float64 else scores)
    return weights.to(scores.dtype)


def off_by_one(scores: Tensor) -> Tensor:
    """Softmax with a 1 added to the denominator: a key of score 0 without value."""
    return _softmax_with(scores, scores.new_zeros(()))


def _softmax_with(scores: Tensor, sink: Tensor) -> Tensor:
    """Softmax with one more score that broadcasts to `[..., 1]`, whose own weight is left out."""
    more = sink.to(scores.dtype).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, more], dim=-1).softmax(dim=-1)[..., :-1]


class SoftmaxWithSink(nn.Module):
    """Softmax with a learned score `b` for each head, which starts at 0 as in `off_by_one`.

    Args:
        num_heads: `H`.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.sink = nn.Parameter(torch.zeros(num_heads))

    def forward(self, scores: Tensor) -> Tensor:
        """The weights of the scores `[B, H, Q, N]`."""
        return _softmax_with(scores, self.sink[:, None, None])


NORMALISERS = ("softmax", "sparsemax", "entmax15", "off_by_one", "sink")
PARTIAL = ("off_by_one", "sink")
"""Those whose weights may sum to less than 1."""


def make_normaliser(name: str, num_heads: int) -> Normaliser:
    """The normaliser of that name.

    Raises:
        UsageError: If there is none.
    """
    if name == "sink":
        return SoftmaxWithSink(num_heads)
    functions: dict[str, Normaliser] = {
        "softmax": softmax,
        "sparsemax": sparsemax,
        "entmax15": entmax15,
        "off_by_one": off_by_one,
    }
    if name not in functions:
        raise UsageError(
            f"normaliser={name!r} is not known; choose from {', '.join(NORMALISERS)}"
            f"{did_you_mean(str(name), NORMALISERS)}"
        )
    return functions[name]


def _centred(scores: Tensor) -> Tensor:
    """Scores shifted so that the largest is 0, none below -SPREAD.

    Both functions give weight 0 to a score 1 or more below the largest: τ ≥ -1, or the largest alone would weigh more
    than 1. So the lower bound changes no weight, and sums stay finite where a mask set -inf.
    """
    return (scores - scores.amax(dim=-1, keepdim=True)).clamp(min=-SPREAD)


def _counts(z: Tensor) -> Tensor:
    return torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)


class _Sparsemax(torch.autograd.Function):
    """With z₁ ≥ z₂ ≥ …, the support is the largest k with 1 + k zₖ > Σ_{j≤k} zⱼ, and τ = (Σ_{j≤k} zⱼ - 1) / k."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        z = _centred(scores)
        ordered = z.sort(dim=-1, descending=True).values
        k, total = _counts(z), ordered.cumsum(dim=-1)
        support = (1 + k * ordered > total).sum(dim=-1, keepdim=True)
        tau = (total.gather(-1, support - 1) - 1) / support
        weights = (z - tau).clamp(min=0)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """On the support, the gradient minus its mean there; elsewhere 0."""
        weights: Tensor = ctx.saved_tensors[0]
        on = (weights > 0).to(grad.dtype)
        mean = (grad * on).sum(dim=-1, keepdim=True) / on.sum(dim=-1, keepdim=True)
        return on * (grad - mean)


class _Entmax15(torch.autograd.Function):
    """With z = s/2 in descending order, the support is the largest k with τₖ ≤ zₖ.

    τₖ = Mₖ - √((1 - k Vₖ) / k) for the mean M and the variance V of the first k.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        z = _centred(scores / 2)
        ordered = z.sort(dim=-1, descending=True).values
        k = _counts(z)
        mean = ordered.cumsum(dim=-1) / k
        variance = (ordered.square().cumsum(dim=-1) / k - mean.square()).clamp(min=0)
        taus = mean - ((1 - k * variance) / k).clamp(min=0).sqrt()
        support = (taus <= ordered).sum(dim=-1, keepdim=True)
        weights = (z - taus.gather(-1, support - 1)).clamp(min=0).square()
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """dw/ds = diag(r) - r rᵀ / Σr with r = √w, which is 0 outside the support."""
        weights: Tensor = ctx.saved_tensors[0]
        root = weights.sqrt()
        mean = (grad * root).sum(dim=-1, keepdim=True) / root.sum(dim=-1, keepdim=True)
        return root * (grad - mean)
