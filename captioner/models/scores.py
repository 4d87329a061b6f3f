"""Attention scores of queries and keys, by formula.

    scaled_dot    q·k / √d                   Vaswani et al. 2017
    dot           q·k                        Luong, Pham & Manning 2015, "dot"
    general       q W kᵀ                     Luong, Pham & Manning 2015, "general"
    additive      v · tanh(q + k)            Bahdanau, Cho & Bengio 2015; their W and U project the heads' q and k
    biased_dot    q·k / √d + v · tanh(k)     with a learned bias: how salient a key is, whatever the query
    cosine        τ · q·k / (|q| |k|)        Liu et al. 2022, "Swin Transformer V2", with the temperature 1/τ learned

Every learned `W`, `v` and `τ` belongs to one head. What depends on keys alone, the bias of `biased_dot` and the
normalisation of `cosine`, is computed once for all queries by `prepare`. All but the additive score are an inner
product, so that a fused kernel can compute them: `inner` returns its parts.

Axis letters: `B` images, `H` heads, `G` heads of keys, `Q` queries, `N` keys, `d` width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """A score as `scale * queries @ keysᵀ + bias`.

    Attributes:
        queries: `[B, H, Q, d]`.
        keys: `[B, G, N, d]`, each head for `H / G` heads of queries.
        scale: A number.
        bias: Broadcasts to `[B, H, Q, N]`; None for none.
    """

    queries: Tensor
    keys: Tensor
    scale: float
    bias: Tensor | None = None


class Score(Protocol):
    """Scores `[B, H, Q, N]` of queries `[B, H, Q, d]` and of keys that `prepare` returned."""

    def prepare(self, keys: Tensor) -> tuple[Tensor, Tensor | None]:
        """The part of the score that depends on keys `[B, G, N, d]` alone: keys and a bias `[B, H, 1, N]` or None."""
        ...

    def __call__(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores `[B, H, Q, N]` of prepared keys `[B, H, N, d]`."""
        ...

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner | None:
        """The score of prepared keys `[B, G, N, d]` as an inner product; None where it is none."""
        ...


class ScaledDot(nn.Module):
    """q·k / √d."""

    def prepare(self, keys: Tensor) -> tuple[Tensor, None]:
        """The keys as they are."""
        return keys, None

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        return queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner:
        """The scaled inner product."""
        return Inner(queries, keys, 1 / math.sqrt(queries.shape[-1]))


class Dot(nn.Module):
    """q·k."""

    def prepare(self, keys: Tensor) -> tuple[Tensor, None]:
        """The keys as they are."""
        return keys, None

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        return queries @ keys.transpose(-2, -1)

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner:
        """The inner product."""
        return Inner(queries, keys, 1.0)


class General(nn.Module):
    """q W kᵀ; W starts as identity / √d, which is the scaled dot product.

    Args:
        num_heads: `H`.
        head_dim: `d`.
    """

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(head_dim).repeat(num_heads, 1, 1) / math.sqrt(head_dim))

    def prepare(self, keys: Tensor) -> tuple[Tensor, None]:
        """The keys as they are; W goes with the queries, since several heads of them may share one head of keys."""
        return keys, None

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        return queries @ self.weight @ keys.transpose(-2, -1)

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner:
        """The inner product of q W and k."""
        return Inner(queries @ self.weight, keys, 1.0)


class Additive(nn.Module):
    """v · tanh(q + k). Memory grows with Q × N × d: for grids of some hundred cells.

    Args:
        num_heads: `H`.
        head_dim: `d`.
    """

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.randn(num_heads, head_dim) / math.sqrt(head_dim))

    def prepare(self, keys: Tensor) -> tuple[Tensor, None]:
        """The keys as they are."""
        return keys, None

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        # [B, H, Q, 1, d] + [B, H, 1, N, d] -> [B, H, Q, N, d], and on d with v [H, 1, d, 1]
        both = torch.tanh(queries[..., :, None, :] + keys[..., None, :, :])
        return (both @ self.v[:, None, :, None])[..., 0]

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> None:
        """None: it is no inner product."""
        return None


class BiasedDot(nn.Module):
    """q·k / √d + v · tanh(k); v starts at 0.

    A bias linear in k would add nothing: the bias of the query's projection is one already.

    Args:
        num_heads: `H`.
        head_dim: `d`.
    """

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.zeros(num_heads, head_dim))

    def prepare(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The keys as they are, and the bias v · tanh(k)."""
        # v [H, d, 1] on tanh(k) [B, H, N, d] -> [B, H, 1, N]; one head of keys may serve several v
        each = keys.repeat_interleave(len(self.v) // keys.shape[1], dim=1)
        return keys, (torch.tanh(each) @ self.v[:, :, None]).transpose(-2, -1)

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        assert bias is not None, "BiasedDot takes prepared keys"
        return queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1]) + bias

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner:
        """The scaled inner product with the bias."""
        return Inner(queries, keys, 1 / math.sqrt(queries.shape[-1]), bias)


class Cosine(nn.Module):
    """τ · cos(q, k), with log τ learned; τ starts at 10 and stays below 100.

    Args:
        num_heads: `H`.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0)))

    def _scaled(self, queries: Tensor) -> Tensor:
        return F.normalize(queries, dim=-1) * self.log_scale.clamp(max=math.log(100.0)).exp()

    def prepare(self, keys: Tensor) -> tuple[Tensor, None]:
        """The keys at length 1."""
        return F.normalize(keys, dim=-1), None

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
        """The scores."""
        return self._scaled(queries) @ keys.transpose(-2, -1)

    def inner(self, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Inner:
        """The inner product of the unit vectors, scaled."""
        return Inner(self._scaled(queries), keys, 1.0)


SCORES = ("scaled_dot", "dot", "general", "additive", "biased_dot", "cosine")


def make_score(name: str, num_heads: int, head_dim: int) -> Score:
    """The score of that name.

    Raises:
        UsageError: If there is none.
    """
    match name:
        case "scaled_dot":
            return ScaledDot()
        case "dot":
            return Dot()
        case "general":
            return General(num_heads, head_dim)
        case "additive":
            return Additive(num_heads, head_dim)
        case "biased_dot":
            return BiasedDot(num_heads, head_dim)
        case "cosine":
            return Cosine(num_heads)
    raise UsageError(
        f"score={name!r} is not known; choose from {', '.join(SCORES)}{did_you_mean(str(name), SCORES)}"
    )
