"""How does a query attend? Multi-head scaled dot-product attention that shows its weights on request.

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V

Source: Vaswani et al. 2017, "Attention Is All You Need".

Axis letters: `B` images, `Q` queries, `N` keys, `D` width, `H` heads, `d = D / H`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class KeyValue:
    """Keys and values of one attention layer, `[B, H, N, d]` each, projected once and used by every query."""

    keys: Tensor
    values: Tensor


def attend(
    queries: Tensor,
    memory: KeyValue,
    *,
    allowed: Tensor | None = None,
    causal: bool = False,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention; fused unless the weights are asked for.

    Both paths compute the same function: with `need_weights` the weights returned are the weights used. Weights are
    never dropped at random in training: the fused path would be lost, and maps would not be those that were learned.

    Args:
        queries: `[B, H, Q, d]`.
        memory: Keys and values `[B, H, N, d]`.
        allowed: bool, broadcastable to `[B, H, Q, N]`; False hides a key from a query. Every query must be
            allowed at least one key.
        causal: Query i sees keys 0..i only (needs `Q == N`). Not together with `allowed`.
        need_weights: Return the weights after the softmax.

    Returns:
        The output `[B, H, Q, d]` and the weights `[B, H, Q, N]`, or None when they were not asked for.

    Raises:
        ValueError: If `causal` and `allowed` are given together.
    """
    if causal and allowed is not None:
        raise ValueError("attend takes causal or allowed, not both; put the triangle into allowed")
    # On a CPU the fused kernel's backward pass takes four times as long as that of plain matrix products.
    training_on_cpu = queries.device.type == "cpu" and torch.is_grad_enabled()
    if not need_weights and not training_on_cpu:
        out = F.scaled_dot_product_attention(
            queries, memory.keys, memory.values, attn_mask=allowed, is_causal=causal
        )
        return out, None
    scores = queries @ memory.keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights @ memory.values, weights if need_weights else None


class MultiHeadAttention(nn.Module):
    """`H` attentions side by side on slices of the width, joined by an output projection.

    Keys and values are projected by `project` and passed to `forward`, so that a caller keeps them: an image's
    for all its captions and beams, a prefix's for all later tokens.

    Args:
        dim: Width `D` of the queries and of the output.
        num_heads: `H`; must divide `dim`.

    Raises:
        UsageError: If `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UsageError(f"num_heads={num_heads} does not divide dim={dim}; choose a divisor of {dim}")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def _split(self, x: Tensor) -> Tensor:
        # [B, N, D] -> [B, H, N, d]
        B, N, D = x.shape
        return x.view(B, N, self.num_heads, D // self.num_heads).transpose(1, 2)

    def project(self, context: Tensor) -> KeyValue:
        """Keys and values `[B, H, N, d]` of a context `[B, N, D]`."""
        keys, values = self.key_value(context).chunk(2, dim=-1)
        return KeyValue(self._split(keys), self._split(values))

    def forward(
        self,
        x: Tensor,
        memory: KeyValue,
        *,
        allowed: Tensor | None = None,
        causal: bool = False,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let `x` `[B, Q, D]` attend to `memory`; arguments and returns as in `attend`.

        Returns:
            The output `[B, Q, D]` and the weights `[B, H, Q, N]` or None.
        """
        out, weights = attend(
            self._split(self.query(x)),
            memory,
            allowed=allowed,
            causal=causal,
            need_weights=need_weights,
        )
        # [B, H, Q, d] -> [B, Q, D]
        return self.out(out.transpose(1, 2).flatten(-2)), weights
