"""Attention by PyTorch's fused kernel, for the scores and normalisers it can express.

Scores that are an inner product with a bias become the kernel's product with an additive mask. A sink is one more key
of score b and value 0.

Axis letters: `B` images, `Q` queries, `N` keys, `H` heads, `G` heads of keys and values, `d` width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.models.normalisers import Normaliser, SoftmaxWithSink, off_by_one, softmax
from captioner.models.scores import Inner


def is_fusable(normalise: Normaliser) -> bool:
    """Whether the kernel can compute with this normaliser."""
    return normalise in (softmax, off_by_one) or isinstance(normalise, SoftmaxWithSink)


def fused_attention(
    inner: Inner, values: Tensor, *, normalise: Normaliser, allowed: Tensor | None, causal: bool
) -> Tensor:
    """The output `[B, H, Q, d]` of an attention without sentinel.

    Args:
        inner: The score.
        values: `[B, G, N, d]`.
        normalise: One that `is_fusable`.
        allowed: As in `attend`.
        causal: As in `attend`.
    """
    queries, keys, mask = inner.queries, inner.keys, inner.bias
    has_sink = normalise is not softmax
    if mask is not None or has_sink:
        if causal:
            size = queries.shape[2], keys.shape[2]
            causal, allowed = False, torch.ones(size, dtype=torch.bool, device=queries.device).tril()
        mask = queries.new_zeros(1, 1, 1, keys.shape[2]) if mask is None else mask
        mask = mask if allowed is None else torch.where(allowed, mask, float("-inf"))
    if has_sink:  # a last key of score 0, or the sink's, and of value 0
        keys, values = F.pad(keys, (0, 0, 0, 1)), F.pad(values, (0, 0, 0, 1))
        assert mask is not None
        if isinstance(normalise, SoftmaxWithSink):
            sink = normalise.sink[:, None, None]
            mask = mask + torch.zeros_like(sink)  # a row for each head
            mask = torch.cat([mask, sink.expand(*mask.shape[:-1], 1)], dim=-1)
        else:
            mask = F.pad(mask, (0, 1))
    mask = allowed if mask is None else mask.to(queries.dtype)
    return F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask[None] if mask is not None and mask.ndim == 1 else mask,
        is_causal=causal,
        scale=inner.scale,
        enable_gqa=keys.shape[1] != queries.shape[1],
    )
