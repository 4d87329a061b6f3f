"""How does a caption grow from an image? A pre-norm Transformer decoder with cross-attention.

Sources: Vaswani et al. 2017 (the decoder); Press & Wolf 2017 (output weights shared with the embedding). Its layers are
`decoder_layer`'s, and their order `decoder_stack`'s.

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens,
`V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.acceleration import compiled, fixed
from captioner.models.attention import KeyValue
from captioner.models.decoders.cache import DecoderCache, Slot, SlotCache
from captioner.models.decoders.decoder_layer import DecoderLayer
from captioner.models.decoders.decoder_output import DecoderOutput, check_request
from captioner.models.decoders.decoder_stack import DecoderStack
from captioner.models.decoders.packing import Packing
from captioner.models.linear import Linear, linear
from captioner.models.positions import TEXT_POSITIONS, angles, sinusoid_line


class TransformerDecoder(nn.Module):
    """Token ids and an image memory in, logits for the next token out.

    Args:
        vocab_size: `V`.
        dim: Width `D`, equal to the width of the memory.
        depth: Number of layers.
        num_heads: Heads of every attention; must divide `dim`.
        max_length: Longest input in tokens, BOS included.
        mlp_ratio: Width of the feed-forward networks over `dim`.
        dropout: Applied to embeddings and sub-layers.
        tie_weights: Use the token embedding as the output projection.
        positions: "learned" (a table), "sinusoidal", or "rotary" (in self-attention).
        num_kv_heads: Heads of keys and values, each shared by a group of heads of queries; must divide `num_heads`.
            None for as many.
        score: How image tokens answer a word: a name in `scores.SCORES`.
        normaliser: How those scores become weights: a name in `normalisers.NORMALISERS`.
        sentinel: Let a visual sentinel compete with the image tokens, so that a word may look at nothing.
        self_attention_first: Let all layers read before any looks, so that no word takes over what another saw.
        fused: True insists that cross-attention runs in a fused kernel, False forbids it; None chooses the faster.

    Raises:
        UsageError: If a size is not positive, `num_heads` does not divide `dim`, `dropout` is no share, a name is not
            known, or `fused` insists on what there is not.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        depth: int = 3,
        num_heads: int = 8,
        max_length: int = 64,
        mlp_ratio: float = 4.0,
        dropout: float = 0.1,
        tie_weights: bool = True,
        positions: str = "learned",
        num_kv_heads: int | None = None,
        score: str = "scaled_dot",
        normaliser: str = "softmax",
        sentinel: bool = False,
        self_attention_first: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("vocab_size", vocab_size),
            ("dim", dim),
            ("depth", depth),
            ("max_length", max_length),
        ):
            if value < 1:
                raise UsageError(f"decoder {name}={value} must be at least 1")
        if int(dim * mlp_ratio) < 1:
            raise UsageError(
                f"decoder mlp_ratio={mlp_ratio} leaves the feed-forward network no width; take 4"
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"decoder dropout={dropout} must be at least 0 and below 1")
        if positions not in TEXT_POSITIONS:
            raise UsageError(
                f"decoder positions={positions!r} is not known; choose from {', '.join(TEXT_POSITIONS)}"
            )
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.position_embedding = nn.Embedding(max_length, dim) if positions == "learned" else None
        if positions == "sinusoidal":
            self.register_buffer("sinusoids", sinusoid_line(max_length, dim), persistent=False)
        self.positions = positions
        self.dropout = nn.Dropout(dropout)
        layers = (
            DecoderLayer(
                dim,
                num_heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                num_kv_heads=num_kv_heads,
                score=score,
                normaliser=normaliser,
                sentinel=sentinel,
                fused=fused,
            )
            for _ in range(depth)
        )
        self.layers = DecoderStack(layers, self_attention_first=self_attention_first)
        self.head_dim = dim // num_heads
        if positions == "rotary" and self.head_dim % 2:
            raise UsageError(
                f"rotary positions turn pairs, and dim={dim} over num_heads={num_heads} gives heads of odd width "
                f"{self.head_dim}; change one of them, or take positions learned or sinusoidal"
            )
        self.norm = nn.LayerNorm(dim)
        self.head = None if tie_weights else Linear(dim, vocab_size, bias=False)
        self._compiled: Callable[..., tuple[Tensor, Tensor]] | None = None
        self._init_weights(dim, depth)

    @property
    def may_look_away(self) -> bool:
        """Whether attention may go elsewhere than to the image."""
        return self.layers.may_look_away

    def _init_weights(self, dim: int, depth: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Unit-variance logits at the start when the embedding is also the output projection.
        nn.init.normal_(self.token_embedding.weight, std=dim**-0.5)
        if self.position_embedding is not None:
            nn.init.normal_(self.position_embedding.weight, std=0.02)
        # Residual branches start small, so that depth does not scale the first gradients (GPT-2).
        for layer in self.layers:
            final_mlp = layer.mlp[-1]
            assert isinstance(final_mlp, nn.Linear)
            for branch in (layer.self_attention.out, layer.cross_attention.out, final_mlp):
                with torch.no_grad():
                    branch.weight.div_(math.sqrt(3 * depth))

    def _embed(self, tokens: Tensor, at: Tensor) -> Tensor:
        # [B, C, L] at the positions [L] -> [B, C, L, D]
        scale = math.sqrt(self.token_embedding.embedding_dim)  # undo the small embedding of tied weights
        embedded: Tensor = self.token_embedding(tokens) * scale
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(at)
        elif self.positions == "sinusoidal":
            embedded = embedded + self.get_buffer("sinusoids")[at]
        embedded = self.dropout(embedded)
        return embedded

    def _turned(self, at: Tensor) -> Tensor | None:
        """Angles `[L, d / 2]` of rotary positions, or None."""
        return angles(at, self.head_dim) if self.positions == "rotary" else None

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return linear(x, weight, training=self.training)

    def project_image(self, memory: Tensor) -> tuple[KeyValue, ...]:
        """Each layer's keys and values `[B, G, N, d]` of the memory `[B, N, D]`."""
        return tuple(self.layers.project(memory))

    def forward(
        self, tokens: Tensor, memory: Tensor, *, need_weights: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        """Teacher forcing: logits of every next token at once.

        Padding may stand only at the right; what it computes is to be ignored.

        Args:
            tokens: int64 `[B, C, L]`, starting with BOS.
            memory: `[B, N, D]`.
            need_weights: Also return every layer's and head's cross-attention; not together with `real`.
            real: bool `[B, C, L]`, False where a token is padding: it is left out, and logits are those of the `M`
                others in their order, `[M, V]`.

        Raises:
            UsageError: If `L` exceeds `max_length`, or `need_weights` meets `real`.
        """
        check_request(need_weights=need_weights, real=real)
        if tokens.shape[-1] > self.max_length:
            raise UsageError(
                f"a caption of {tokens.shape[-1]} tokens exceeds the decoder's max_length={self.max_length}; "
                "raise model.decoder.max_length or shorten the caption"
            )
        at = torch.arange(tokens.shape[-1], device=tokens.device)
        x, turned = self._embed(tokens, at), self._turned(at)
        packing = None if real is None else Packing(real)
        if packing is not None:
            x = packing.captions.gather(x.flatten(0, 1))
        x, weights = self.layers(
            x, self.project_image(memory), turned=turned, packing=packing, need_weights=need_weights
        )
        return DecoderOutput(
            self._logits(self.norm(x)), torch.stack(weights, dim=3) if need_weights else None
        )

    def init_cache(
        self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None
    ) -> DecoderCache | SlotCache:
        """An empty cache for decoding `num_beams` captions of each image in the memory `[B, N, D]`.

        Args:
            memory: `[B, N, D]`.
            num_beams: `K`.
            max_length: Room in tokens, BOS included; by default the decoder's own.
        """
        image = tuple(layer.contiguous() for layer in self.layers.project(memory))
        B, G, _, d = image[0].keys.shape
        room, like = min(max_length or self.max_length, self.max_length), image[0].keys
        if self._compiled is not None:
            keys, values = ([like.new_zeros(B * num_beams, G, room, d) for _ in image] for _ in range(2))
            fixed([*keys, *values, *(part for layer in image for part in (layer.keys, layer.values))])
            return SlotCache(image, keys, values)
        shape = (len(image), B * num_beams, G, room, d)
        return DecoderCache(image, like.new_zeros(shape), like.new_zeros(shape))

    def step(
        self, tokens: Tensor, cache: DecoderCache | SlotCache
    ) -> tuple[Tensor, DecoderCache | SlotCache]:
        """Logits `[B, K, V]` after one more token `[B, K]`; equals the last position of `forward`.

        Raises:
            UsageError: If the cache is full.
        """
        if cache.length >= cache.max_length:
            raise UsageError(f"the cache is full after {cache.length} tokens; ask init_cache for more room")
        at = torch.arange(cache.length, cache.length + 1, device=tokens.device)
        if isinstance(cache, SlotCache):
            assert self._compiled is not None, "a cache of a compiled step"
            logits, cache.hidden = self._compiled(tokens, at, cache.image, cache.keys, cache.values)
        else:
            x, turned = self._embed(tokens[:, :, None], at), self._turned(at)
            x, _ = self.layers(x, cache.image, turned=turned, caches=cache.layers)
            cache.hidden = self.norm(x[:, :, 0])
            logits = self._logits(cache.hidden)
        cache.length += 1
        return logits, cache

    def compile_step(self) -> None:
        """Let `step` be compiled when it is first called: worth it for thousands of captions.

        Captions stay the same; log-probabilities may differ in the last digits.

        Raises:
            UsageError: As `compiled`.
        """
        self._compiled = compiled(self._whole_step, self.token_embedding.weight.device)

    def _whole_step(
        self,
        tokens: Tensor,
        at: Tensor,
        image: tuple[KeyValue, ...],
        keys: list[Tensor],
        values: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """A step whose shapes do not depend on how many tokens there are: logits and hidden state."""
        allowed = torch.arange(keys[0].shape[2], device=at.device) <= at
        x, turned = self._embed(tokens[:, :, None], at), self._turned(at)
        slots = [Slot(k, v, at, allowed) for k, v in zip(keys, values, strict=True)]
        x, _ = self.layers(x, image, turned=turned, caches=slots)
        hidden = self.norm(x[:, :, 0])
        return self._logits(hidden), hidden
