"""Multi-head attention that returns its weights on request.

    S = score(Q, K)          the score of each query and key          `scores`
    A = normalise(S)         the weights                              `normalisers`
    attend(Q, K, V) = A V

By default softmax(Q Kᵀ / √d) V. Several heads of queries may share one head of keys and values. A sentinel, one
further key and value that each query brings along, competes with the others for weight (`sentinel`).

Sources: Vaswani et al. 2017, "Attention Is All You Need"; Ainslie et al. 2023, "GQA" (grouped queries); Lu et al. 2017,
"Knowing When to Look" (the sentinel); Xu et al. 2015, "Show, Attend and Tell" (hard attention).

Axis letters: `B` images, `Q` queries, `N` keys, `D` width, `H` heads, `G` heads of keys and values, `d = D / H`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.decoders.decoder_output import Choice
from captioner.models.decoders.packing import Layout
from captioner.models.fused_attention import fused_attention, is_fusable
from captioner.models.hard_attention import choose_key
from captioner.models.linear import Linear
from captioner.models.normalisers import PARTIAL, Normaliser, make_normaliser, softmax
from captioner.models.positions import rotate
from captioner.models.scores import ScaledDot, Score, make_score

SCALED_DOT = ScaledDot()
FEW_QUERIES = 8
"""Queries of a decoding step, one for each beam, up to which a CPU computes faster without the fused kernel."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyValue:
    """Keys and values of one attention layer, projected once and used by every query.

    Attributes:
        keys: `[B, G, N, d]`, as `Score.prepare` returns them.
        values: `[B, G, N, d]`.
        bias: `[B, H, 1, N]`, the part of the score that depends on keys alone; None for none.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None = None

    def contiguous(self) -> KeyValue:
        """The same with each head contiguous in memory, which halves the time to read it at every decoding step."""
        bias = None if self.bias is None else self.bias.contiguous()
        return KeyValue(self.keys.contiguous(), self.values.contiguous(), bias)


def attend(
    queries: Tensor,
    memory: KeyValue,
    *,
    score: Score = SCALED_DOT,
    normalise: Normaliser = softmax,
    sentinel: KeyValue | None = None,
    allowed: Tensor | None = None,
    causal: bool = False,
    need_weights: bool = False,
    fused: bool | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention, by a fused kernel where one exists, unless weights are requested.

    Both paths compute the same function: with `need_weights` the weights returned are the weights used. There is no
    dropout on the weights: it would rule out the fused path, and the maps would not be those that were trained.

    Args:
        queries: `[B, H, Q, d]`.
        memory: Keys and values `[B, G, N, d]`; `G` divides `H`, and each serves `H / G` consecutive heads of queries.
        score: The score of a query and a key.
        normalise: Turns scores into weights.
        sentinel: One more key, not yet prepared, and value for each query, `[B, G, Q, d]`; it comes before all others.
        allowed: bool, broadcastable to `[B, H, Q, N]`; False hides a key from a query. Every query must be
            allowed at least one key. The sentinel is always allowed.
        causal: Query i attends to keys 0..i only (needs `Q == N`). Not together with `allowed`.
        need_weights: Return the weights.
        fused: True requires the fused kernel whenever no weights are requested, False forbids it; None uses it where
            it exists and is faster.

    Returns:
        The output `[B, H, Q, d]` and the weights `[B, H, Q, N]`, or None when they were not requested. With a sentinel
        they are `[B, H, Q, 1 + N]`, its own first.

    Raises:
        ValueError: If `causal` and `allowed` are given together.
        UsageError: If `fused` is True and no fused kernel computes this attention.
    """
    if causal and allowed is not None:
        raise ValueError("attend takes causal or allowed, not both; put the triangle into allowed")
    if not need_weights and (_fused_is_faster(queries, memory.keys) if fused is None else fused):
        inner = score.inner(queries, memory.keys, memory.bias)
        if inner is not None and sentinel is None and is_fusable(normalise):
            out = fused_attention(inner, memory.values, normalise=normalise, allowed=allowed, causal=causal)
            return out, None
        if fused:
            raise UsageError(
                "fused=true, but no fused kernel computes this attention: it needs score scaled_dot, dot, general, "
                "biased_dot or cosine, normaliser softmax, off_by_one or sink, and no sentinel; or take fused=null"
            )
    weights = _weights(queries, memory, score, normalise, sentinel, allowed, causal)
    return _weighted_values(weights, memory, sentinel), weights if need_weights else None


def _fused_is_faster(queries: Tensor, keys: Tensor) -> bool:
    # On a CPU plain matrix products take a fourth of its time in the backward pass, and 0.7 of it for a decoding step.
    if queries.device.type != "cpu":
        return True
    one_step = queries.shape[2] <= FEW_QUERIES and queries.shape[1] == keys.shape[1]
    return not (torch.is_grad_enabled() or one_step)


def _weights(
    queries: Tensor,
    memory: KeyValue,
    score: Score,
    normalise: Normaliser,
    sentinel: KeyValue | None,
    allowed: Tensor | None,
    causal: bool,
) -> Tensor:
    """The weights as `attend` returns them."""
    scores = score(queries, _for_each_head(memory.keys, queries.shape[1]), memory.bias)
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    if sentinel is not None:
        keys = _for_each_head(sentinel.keys, queries.shape[1])
        scores = torch.cat([_pairwise_scores(score, queries, keys), scores], dim=-1)
    return normalise(scores)


def _weighted_values(weights: Tensor, memory: KeyValue, sentinel: KeyValue | None) -> Tensor:
    """The output `[B, H, Q, d]` of weights `[B, H, Q, N]`, with a sentinel `[B, H, Q, 1 + N]`."""
    values = _for_each_head(memory.values, weights.shape[1])
    if sentinel is None:
        return weights @ values
    own = _for_each_head(sentinel.values, weights.shape[1])
    return weights[..., :1] * own + weights[..., 1:] @ values


def _for_each_head(x: Tensor, num_heads: int) -> Tensor:
    # [B, G, N, d] -> [B, H, N, d]
    group = num_heads // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, dim=1)


def _pairwise_scores(score: Score, queries: Tensor, keys: Tensor) -> Tensor:
    """The score of each query and the key at the same place, both `[B, H, Q, d]`: `[B, H, Q, 1]`."""
    B, H, Q, _ = queries.shape
    # Each query alone with its key: [B, H, Q, d] -> [B*Q, H, 1, d], and the scores back from [B*Q, H, 1, 1]
    queries, keys = (x.transpose(1, 2).flatten(0, 1)[:, :, None] for x in (queries, keys))
    return score(queries, *score.prepare(keys)).reshape(B, Q, H, 1).transpose(1, 2)


class MultiHeadAttention(nn.Module):
    """`H` attentions in parallel on slices of the width, joined by an output projection.

    Keys and values are projected by `project` and passed to `forward`, so that the caller keeps them: an image's
    for all its captions and beams, a prefix's for all later tokens.

    Args:
        dim: Width `D` of the queries and of the output.
        num_heads: `H`; must divide `dim`.
        num_kv_heads: `G`, heads of keys and values, which must divide `num_heads`; None for as many.
        score: A name in `scores.SCORES`.
        normaliser: A name in `normalisers.NORMALISERS`.
        sentinel: Whether `forward` takes a sentinel.
        fused: As in `attend`.

    Attributes:
        partial: Whether weights on the keys may sum to less than 1: the rest is a sentinel's, or nobody's.

    Raises:
        UsageError: If a number does not divide, a name is not known, or `fused` is True and no fused kernel exists.
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
        self.partial = sentinel or normaliser in PARTIAL
        self.sentinel_key_value = Linear(dim, 2 * G * self.head_dim) if sentinel else None

    def _split(self, x: Tensor) -> Tensor:
        # [B, N, heads*d] -> [B, heads, N, d]
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)

    def project(
        self, context: Tensor, *, angles: Tensor | None = None, layout: Layout | None = None
    ) -> KeyValue:
        """Keys and values `[B, G, N, d]` of a context `[B, N, D]`; keys rotated by the angles `[N, d / 2]`.

        With a layout the context is packed, `[M, D]`.
        """
        keys, values = self._key_value(self.key_value, context, layout)
        if angles is not None:
            keys = rotate(keys, angles)
        keys, bias = self.score.prepare(keys)
        return KeyValue(keys, values, bias)

    def _key_value(self, projection: Linear, x: Tensor, layout: Layout | None) -> tuple[Tensor, Tensor]:
        projected = projection(x)
        if layout is not None:
            projected = layout.spread(projected)
        keys, values = projected.chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def _sentinel(self, sentinel: Tensor | None, layout: Layout | None = None) -> KeyValue | None:
        if self.sentinel_key_value is None:
            return None
        assert sentinel is not None, "this attention takes a sentinel"
        return KeyValue(*self._key_value(self.sentinel_key_value, sentinel, layout))

    def forward(
        self,
        x: Tensor,
        memory: KeyValue,
        *,
        angles: Tensor | None = None,
        sentinel: Tensor | None = None,
        allowed: Tensor | None = None,
        causal: bool = False,
        need_weights: bool = False,
        layout: Layout | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Let `x` `[B, Q, D]` attend to `memory`; arguments and returns as in `attend`.

        The sentinel is given before projection, `[B, Q, D]`; queries are rotated by the angles `[Q, d / 2]`. With a
        layout `x`, the sentinel and the output are packed, `[M, D]`.

        Returns:
            The output `[B, Q, D]` and the weights `[B, H, Q, N]` (with a sentinel `[B, H, Q, 1 + N]`) or None.
        """
        own = self._sentinel(sentinel, layout)
        projected = self.query(x)
        queries = self._split(projected if layout is None else layout.spread(projected))
        out, weights = attend(
            queries if angles is None else rotate(queries, angles),
            memory,
            score=self.score,
            normalise=self.normalise,
            sentinel=own,
            allowed=allowed,
            causal=causal,
            need_weights=need_weights,
            fused=self.fused,
        )
        # [B, H, Q, d] -> [B, Q, D]
        out = out.transpose(1, 2).flatten(-2)
        return self.out(out if layout is None else layout.gather(out)), weights

    def forward_hard(
        self, x: Tensor, memory: KeyValue, *, draw: bool, sentinel: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Choice]:
        """As `forward`, but each query attends to one key, as in `choose_key`, whose choice is returned too."""
        own = self._sentinel(sentinel)
        queries = self._split(self.query(x))
        soft = _weights(queries, memory, self.score, self.normalise, own, None, False)
        weights, choice = choose_key(soft, draw=draw)
        out = _weighted_values(weights, memory, own)
        return self.out(out.transpose(1, 2).flatten(-2)), weights, choice
