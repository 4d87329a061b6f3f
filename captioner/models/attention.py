"""How does a query attend? Multi-head attention that shows its weights on request.

    S = score(Q, K)          how well each key answers each query     `scores`
    A = normalise(S)         the weights                              `normalisers`
    attend(Q, K, V) = A V

By default softmax(Q Kᵀ / √d) V. Several heads of queries may share one head of keys and values. A sentinel, one
further key and value that each query brings along, competes with the others for weight (`sentinel`).

Sources: Vaswani et al. 2017, "Attention Is All You Need"; Ainslie et al. 2023, "GQA" (grouped queries); Lu et al. 2017,
"Knowing When to Look" (the sentinel).

Axis letters: `B` images, `Q` queries, `N` keys, `D` width, `H` heads, `G` heads of keys and values, `d = D / H`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.models.decoders.packing import Layout
from captioner.models.linear import Linear
from captioner.models.normalisers import (
    PARTIAL,
    Normaliser,
    SoftmaxWithSink,
    make_normaliser,
    off_by_one,
    softmax,
)
from captioner.models.positions import rotate
from captioner.models.scores import ScaledDot, Score, make_score

SCALED_DOT = ScaledDot()
FEW = 8  # queries of a step: its beams


@dataclass(frozen=True, slots=True, eq=False)
class KeyValue:
    """Keys and values of one attention layer, `[B, G, N, d]` each, projected once and used by every query."""

    keys: Tensor
    values: Tensor

    def contiguous(self) -> KeyValue:
        """The same, each head's in one piece of memory: twice as fast to read for whoever reads them at every step."""
        return KeyValue(self.keys.contiguous(), self.values.contiguous())


def attend(
    queries: Tensor,
    memory: KeyValue,
    *,
    score: Score = SCALED_DOT,
    normalise: Normaliser = softmax,
    sentinel: KeyValue | None = None,
    choose: Callable[[Tensor], Tensor] | None = None,
    allowed: Tensor | None = None,
    causal: bool = False,
    need_weights: bool = False,
    fused: bool | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention; by a fused kernel where there is one, unless the weights are asked for.

    Both paths compute the same function: with `need_weights` the weights returned are the weights used. Weights are
    never dropped at random in training: the fused path would be lost, and maps would not be those that were learned.

    Args:
        queries: `[B, H, Q, d]`.
        memory: Keys and values `[B, G, N, d]`; `G` divides `H`, and each serves `H / G` heads of queries in turn.
        score: How well a key answers a query.
        normalise: How scores become weights.
        sentinel: One more key and value for each query, `[B, G, Q, d]`, which stands before all others.
        choose: Turns weights into those that are used and returned, as `hard_attention` does.
        allowed: bool, broadcastable to `[B, H, Q, N]`; False hides a key from a query. Every query must be
            allowed at least one key. The sentinel is always allowed.
        causal: Query i sees keys 0..i only (needs `Q == N`). Not together with `allowed`.
        need_weights: Return the weights.
        fused: True insists on the fused kernel whenever no weights are asked for, False forbids it; None takes it
            where it exists and is the faster.

    Returns:
        The output `[B, H, Q, d]` and the weights `[B, H, Q, N]`, or None when they were not asked for. With a sentinel
        they are `[B, H, Q, 1 + N]`, its own in front.

    Raises:
        ValueError: If `causal` and `allowed` are given together.
        UsageError: If `fused` is True and there is no fused kernel for these parts.
    """
    if causal and allowed is not None:
        raise ValueError("attend takes causal or allowed, not both; put the triangle into allowed")
    wanted = _fused_is_faster(queries, memory.keys) if fused is None else fused
    if wanted and not need_weights and choose is None:
        out = _fused(queries, memory, score, normalise, sentinel, allowed, causal)
        if out is not None:
            return out, None
        if fused:
            raise UsageError(
                "fused=true, but no fused kernel computes this attention: it needs score scaled_dot, dot, general, "
                "biased_dot or cosine, normaliser softmax, off_by_one or sink, and no sentinel; or take fused=null"
            )
    keys, values = _for_each_head(memory.keys, queries), _for_each_head(memory.values, queries)
    scores = score(queries, keys)
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    if sentinel is not None:
        own = _one_to_one(score, queries, _for_each_head(sentinel.keys, queries))
        scores = torch.cat([own, scores], dim=-1)
    weights = normalise(scores)
    if choose is not None:
        weights = choose(weights)
    if sentinel is None:
        out = weights @ values
    else:
        out = weights[..., :1] * _for_each_head(sentinel.values, queries) + weights[..., 1:] @ values
    return out, weights if need_weights else None


def _fused_is_faster(queries: Tensor, keys: Tensor) -> bool:
    """On a CPU plain matrix products are four times as fast on the way back, and 1.4 times for a step of decoding."""
    if queries.device.type != "cpu":
        return True
    one_step = queries.shape[2] <= FEW and queries.shape[1] == keys.shape[1]
    return not (torch.is_grad_enabled() or one_step)


def _for_each_head(x: Tensor, queries: Tensor) -> Tensor:
    # [B, G, N, d] -> [B, H, N, d]
    group = queries.shape[1] // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, dim=1)


def _one_to_one(score: Score, queries: Tensor, keys: Tensor) -> Tensor:
    """The score of each query with its own key, both `[B, H, Q, d]`: `[B, H, Q, 1]`."""
    B, H, Q, _ = queries.shape
    # Each query alone with its key: [B, H, Q, d] -> [B*Q, H, 1, d], and the scores back from [B*Q, H, 1, 1]
    alone = [x.transpose(1, 2).flatten(0, 1)[:, :, None] for x in (queries, keys)]
    return score(*alone).reshape(B, Q, H, 1).transpose(1, 2)


def _fused(
    queries: Tensor,
    memory: KeyValue,
    score: Score,
    normalise: Normaliser,
    sentinel: KeyValue | None,
    allowed: Tensor | None,
    causal: bool,
) -> Tensor | None:
    """The output by PyTorch's fused kernel, or None where it cannot compute it."""
    has_sink = normalise is off_by_one or isinstance(normalise, SoftmaxWithSink)
    inner = score.inner(queries, memory.keys)
    if inner is None or sentinel is not None or not (has_sink or normalise is softmax):
        return None
    keys, values, mask = inner.keys, memory.values, inner.bias
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
        inner.queries,
        keys,
        values,
        attn_mask=mask[None] if mask is not None and mask.ndim == 1 else mask,
        is_causal=causal,
        scale=inner.scale,
        enable_gqa=keys.shape[1] != queries.shape[1],
    )


class MultiHeadAttention(nn.Module):
    """`H` attentions side by side on slices of the width, joined by an output projection.

    Keys and values are projected by `project` and passed to `forward`, so that a caller keeps them: an image's
    for all its captions and beams, a prefix's for all later tokens.

    Args:
        dim: Width `D` of the queries and of the output.
        num_heads: `H`; must divide `dim`.
        num_kv_heads: `G`, heads of keys and values, which must divide `num_heads`; None for as many.
        score: A name in `scores.SCORES`.
        normaliser: A name in `normalisers.NORMALISERS`.
        sentinel: Whether `forward` is given a sentinel.
        fused: As in `attend`.

    Attributes:
        may_look_away: Whether weights on the keys may sum to less than 1: the rest on a sentinel, or on nothing.

    Raises:
        UsageError: If a number does not divide, a name is not known, or no fused kernel exists and `fused` insists.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        score: str = "scaled_dot",
        normaliser: str = "softmax",
        sentinel: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UsageError(f"num_heads={num_heads} does not divide dim={dim}; choose a divisor of {dim}")
        G = num_heads if num_kv_heads is None else num_kv_heads
        if not isinstance(G, int) or G < 1 or num_heads % G:
            raise UsageError(
                f"num_kv_heads={G} does not divide num_heads={num_heads}; choose a divisor of {num_heads}"
            )
        if fused not in (None, True, False):
            raise UsageError(f"fused={fused!r} must be true, false or null")
        if fused and (score == "additive" or normaliser in ("sparsemax", "entmax15") or sentinel):
            raise UsageError(
                f"fused=true, but no fused kernel computes score={score} with normaliser={normaliser}"
                f"{' and a sentinel' if sentinel else ''}; take fused=null"
            )
        self.num_heads = num_heads
        self.num_kv_heads = G
        self.head_dim = dim // num_heads
        self.fused = fused
        self.query = Linear(dim, dim)
        self.key_value = Linear(dim, 2 * G * self.head_dim)
        self.out = Linear(dim, dim)
        self.score = make_score(score, num_heads, self.head_dim)
        self.normalise = make_normaliser(normaliser, num_heads)
        self.may_look_away = sentinel or normaliser in PARTIAL
        self.sentinel_key_value = Linear(dim, 2 * G * self.head_dim) if sentinel else None

    def _split(self, x: Tensor) -> Tensor:
        # [B, N, heads*d] -> [B, heads, N, d]
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)

    def project(
        self, context: Tensor, *, turned: Tensor | None = None, layout: Layout | None = None
    ) -> KeyValue:
        """Keys and values `[B, G, N, d]` of a context `[B, N, D]`; keys turned by the angles `[N, d / 2]`.

        With a layout the context is packed, `[M, D]`.
        """
        projected = self.key_value(context)
        if layout is not None:
            projected = layout.spread(projected)
        keys, values = (self._split(x) for x in projected.chunk(2, dim=-1))
        return KeyValue(keys if turned is None else rotate(keys, turned), values)

    def forward(
        self,
        x: Tensor,
        memory: KeyValue,
        *,
        turned: Tensor | None = None,
        sentinel: Tensor | None = None,
        choose: Callable[[Tensor], Tensor] | None = None,
        allowed: Tensor | None = None,
        causal: bool = False,
        need_weights: bool = False,
        layout: Layout | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Let `x` `[B, Q, D]` attend to `memory`; arguments and returns as in `attend`.

        The sentinel is given before projection, `[B, Q, D]`; queries are turned by the angles `[Q, d / 2]`. With a
        layout `x`, the sentinel and the output are packed, `[M, D]`.

        Returns:
            The output `[B, Q, D]` and the weights `[B, H, Q, N]` (with a sentinel `[B, H, Q, 1 + N]`) or None.
        """
        own = None
        if self.sentinel_key_value is not None:
            assert sentinel is not None, "this attention was made for a sentinel"
            projected = self.sentinel_key_value(sentinel)
            if layout is not None:
                projected = layout.spread(projected)
            own = KeyValue(*(self._split(part) for part in projected.chunk(2, dim=-1)))
        asked = self.query(x)
        queries = self._split(asked if layout is None else layout.spread(asked))
        out, weights = attend(
            queries if turned is None else rotate(queries, turned),
            memory,
            score=self.score,
            normalise=self.normalise,
            sentinel=own,
            choose=choose,
            allowed=allowed,
            causal=causal,
            need_weights=need_weights,
            fused=self.fused,
        )
        # [B, H, Q, d] -> [B, Q, D]
        out = out.transpose(1, 2).flatten(-2)
        return self.out(out if layout is None else layout.gather(out)), weights
