"""What does a word do in one layer of the Transformer? Read the words before it, look at the image, think.

Sources: Vaswani et al. 2017; Xiong et al. 2020 (normalisation before each sub-layer); Lu et al. 2017 (the visual
sentinel).

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioner.models.attention import KeyValue, MultiHeadAttention
from captioner.models.cache import DecoderCache, Slot
from captioner.models.linear import Linear
from captioner.models.packing import Packing
from captioner.models.sentinel import VisualSentinel


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

    def forward(
        self,
        x: Tensor,
        image: KeyValue,
        *,
        cache: DecoderCache | Slot | None = None,
        layer: int = 0,
        turned: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One layer over `x` `[B, C, L, D]`: whole captions, or with a cache the newest token (`L` = 1).

        With rotary positions, words' queries and keys are turned by the angles `turned` `[L, d / 2]`.

        Returns:
            The new `x` and the cross-attention weights `[B, C, L, H, N]`, or None when not asked for.
        """
        B, C, L, _ = x.shape
        # Captions see only themselves: [B, C, L, D] -> [B*C, L, D]
        token = self.self_norm(x).flatten(0, 1)
        own = self.self_attention.project(token, turned=turned)
        if cache is not None:
            own = cache.append(layer, own)
        allowed = None if cache is None else cache.allowed
        past, _ = self.self_attention(token, own, turned=turned, allowed=allowed, causal=cache is None)
        x = x + self.dropout(past.unflatten(0, (B, C)))
        # All captions query one unrepeated image: [B, C, L, D] -> [B, C*L, D]
        state = self.cross_norm(x).flatten(1, 2)
        sentinel = self._sentinel(token.view_as(state), past.view_as(state), state)
        h, weights = self.cross_attention(state, image, sentinel=sentinel, need_weights=need_weights)
        x = self._think(x + self.dropout(h.unflatten(1, (C, L))))
        if weights is not None:
            # [B, H, C*L, N] -> [B, C, L, H, N]
            weights = weights.unflatten(2, (C, L)).permute(0, 2, 3, 1, 4)
        return x, weights

    def packed(self, x: Tensor, image: KeyValue, packing: Packing, *, turned: Tensor | None = None) -> Tensor:
        """The same over the words `x` `[M, D]` of whole captions."""
        token = self.self_norm(x)
        own = self.self_attention.project(token, turned=turned, layout=packing.captions)
        past, _ = self.self_attention(token, own, turned=turned, causal=True, layout=packing.captions)
        x = x + self.dropout(past)
        state = self.cross_norm(x)
        sentinel = self._sentinel(token, past, state)
        h, _ = self.cross_attention(state, image, sentinel=sentinel, layout=packing.images)
        return self._think(x + self.dropout(h))

    def _sentinel(self, token: Tensor, past: Tensor, state: Tensor) -> Tensor | None:
        # As an LSTM's input, hidden state and memory: this token, what it read of the others, and what came of it.
        return None if self.sentinel is None else self.sentinel(token, past, state)

    def _think(self, x: Tensor) -> Tensor:
        thought: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return x + thought
