"""Pre-norm Transformer decoder layer: self-attention, cross-attention, MLP.

Self-attention and cross-attention are two methods, so that a stack may run all self-attention first.

Sources: Vaswani et al. 2017; Xiong et al. 2020 (normalisation before each sub-layer); Lu et al. 2017 (the visual
sentinel).

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from captioner.models.attention import KeyValue, MultiHeadAttention
from captioner.models.decoders.cache import LayerCache, StaticLayerCache
from captioner.models.decoders.packing import Packing
from captioner.models.linear import Linear
from captioner.models.sentinel import VisualSentinel


@dataclass(frozen=True, slots=True, eq=False)
class SelfAttended:
    """Input and output of self-attention, from which a sentinel is made as from an LSTM's input and hidden state.

    Attributes:
        token: `[B*C, L, D]`, or packed `[M, D]`: the normalised input.
        context: Of the same shape: the output.
    """

    token: Tensor
    context: Tensor


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and a feed-forward network, each behind a norm and around a residual.

    Args:
        dim: Width `D`.
        num_heads: Heads of both attentions.
        mlp_ratio: Width of the feed-forward network over `D`.
        dropout: Applied to each sub-layer's output.
        num_kv_heads: Heads of keys and values of both attentions.
        score: Of the cross-attention.
        normaliser: Of the cross-attention.
        sentinel: Whether a visual sentinel competes with the image tokens.
        fused: As in `attend`, for the cross-attention.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        num_kv_heads: int | None = None,
        score: str = "scaled_dot",
        normaliser: str = "softmax",
        sentinel: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = MultiHeadAttention(dim, num_heads, num_kv_heads=num_kv_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = MultiHeadAttention(
            dim,
            num_heads,
            num_kv_heads=num_kv_heads,
            score=score,
            normaliser=normaliser,
            sentinel=sentinel,
            fused=fused,
        )
        self.sentinel = VisualSentinel(dim, dim) if sentinel else None
        self.mlp_norm = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(Linear(dim, hidden), nn.GELU(), Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def self_attend(
        self,
        x: Tensor,
        *,
        cache: LayerCache | StaticLayerCache | None = None,
        angles: Tensor | None = None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, SelfAttended]:
        """Self-attention of `x` `[B, C, L, D]`: whole captions, or with a cache the newest token (`L` = 1).

        With rotary positions, queries and keys are rotated by the angles `[L, d / 2]`. With a packing `x` is `[M, D]`,
        the tokens of whole captions.

        Returns:
            The new `x`, and what `cross_attend` makes a sentinel from.
        """
        token, layout = self.self_norm(x), None
        if packing is not None:
            layout = packing.captions
        else:  # each caption attends to itself alone: [B, C, L, D] -> [B*C, L, D]
            token = token.flatten(0, 1)
        memory = self.self_attention.project(token, angles=angles, layout=layout)
        if cache is not None:
            memory = cache.append(memory)
        allowed = None if cache is None else cache.allowed
        context, _ = self.self_attention(
            token, memory, angles=angles, allowed=allowed, causal=cache is None, layout=layout
        )
        return x + self.dropout(context.view_as(x)), SelfAttended(token, context)

    def cross_attend(
        self,
        x: Tensor,
        image: KeyValue,
        attended: SelfAttended,
        *,
        packing: Packing | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Cross-attention of `x` `[B, C, L, D]`, or packed `[M, D]`, and the feed-forward network.

        Returns:
            The new `x` and the cross-attention weights `[B, C, L, H, N]`, or None when not requested; not together
            with a packing.
        """
        state, layout = self.cross_norm(x), None
        if packing is not None:
            layout = packing.images
        else:  # all captions query one unrepeated image: [B, C, L, D] -> [B, C*L, D]
            state = state.flatten(1, 2)
        sentinel = None
        if self.sentinel is not None:
            sentinel = self.sentinel(attended.token.view_as(state), attended.context.view_as(state), state)
        h, weights = self.cross_attention(
            state, image, sentinel=sentinel, need_weights=need_weights, layout=layout
        )
        x = x + self.dropout(h.view_as(x))
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        if weights is not None:
            # [B, H, C*L, N] -> [B, C, L, H, N]
            weights = weights.unflatten(2, x.shape[1:3]).permute(0, 2, 3, 1, 4)
        return x, weights
