"""Pre-norm Transformer decoder with cross-attention to image tokens.

Sources: Vaswani et al. 2017 (the decoder); Press & Wolf 2017 (output weights shared with the embedding). See
`decoder_layer` for its layers and `decoder_stack` for their order.

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens,
`V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from captioner.errors import UsageError, did_you_mean
from captioner.models.acceleration import compiled, fix_addresses
from captioner.models.attention import KeyValue
from captioner.models.decoders.cache import DecoderCache, StaticLayerCache
from captioner.models.decoders.decoder import Decoder, check_room
from captioner.models.decoders.decoder_layer import DecoderLayer
from captioner.models.decoders.decoder_output import DecoderOutput, check_request
from captioner.models.decoders.decoder_stack import DecoderStack
from captioner.models.decoders.packing import Packing
from captioner.models.linear import Linear, linear
from captioner.models.positions import TEXT_POSITIONS, position_angles, sinusoid_line
from captioner.models.weight_copies import drop_stale_copies, reuse_copies


class TransformerDecoder(Decoder):
    """Token ids and an image memory in, logits of the next token out.

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
        score: The score of cross-attention: a name in `scores.SCORES`.
        normaliser: How those scores become weights: a name in `normalisers.NORMALISERS`.
        sentinel: Let a visual sentinel compete with the image tokens, so that a token may attend to no image token.
        self_attention_first: Run all self-attention before any cross-attention, so that no token takes over what
            another attended to.
        fused: True requires a fused kernel for cross-attention, False forbids it; None chooses the faster.

    Raises:
        UsageError: If a size is not positive, `num_heads` does not divide `dim`, `dropout` is not in [0, 1), a name is
            not known, or `fused` is True and no fused kernel computes this attention.
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
        super().__init__(vocab_size, dim, max_length=max_length, dropout=dropout)
        if depth < 1:
            raise UsageError(f"decoder depth={depth} must be at least 1")
        if int(dim * mlp_ratio) < 1:
            raise UsageError(
                f"decoder mlp_ratio={mlp_ratio} leaves the feed-forward network no width; take 4"
            )
        if positions not in TEXT_POSITIONS:
            raise UsageError(
                f"decoder positions={positions!r} is not known; choose from {', '.join(TEXT_POSITIONS)}"
                f"{did_you_mean(str(positions), TEXT_POSITIONS)}"
            )
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
                f"positions=rotary rotates pairs of numbers, and dim={dim} over num_heads={num_heads} "
                f"gives heads of odd width {self.head_dim}; change one of them, or take positions=learned or sinusoidal"
            )
        self.norm = nn.LayerNorm(dim)
        self.head = None if tie_weights else Linear(dim, vocab_size, bias=False)
        self._compiled: Callable[..., tuple[Tensor, Tensor]] | None = None
        self._init_weights(dim, depth)

    @property
    def partial_attention(self) -> bool:
        """As in `Decoder`."""
        return self.layers.partial_attention

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
        scale = math.sqrt(self.dim)  # undo the small embedding of tied weights
        embedded: Tensor = self.token_embedding(tokens) * scale
        if self.position_embedding is not None:
            embedded = embedded + self.position_embedding(at)
        elif self.positions == "sinusoidal":
            embedded = embedded + self.get_buffer("sinusoids")[at]
        embedded = self.dropout(embedded)
        return embedded

    def _angles(self, at: Tensor) -> Tensor | None:
        """Angles `[L, d / 2]` of rotary positions, or None."""
        return position_angles(at, self.head_dim) if self.positions == "rotary" else None

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return linear(x, weight, training=self.training)

    def project_image(self, memory: Tensor) -> tuple[KeyValue, ...]:
        """Each layer's keys and values `[B, G, N, d]` of the memory `[B, N, D]`."""
        return tuple(self.layers.project(memory))

    def forward(
        self, tokens: Tensor, memory: Tensor, *, need_weights: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        """Teacher forcing: logits of every next token at once; see `Decoder.forward`."""
        L = tokens.shape[-1]
        check_request(length=L, max_length=self.max_length, need_weights=need_weights, real=real)
        at = torch.arange(L, device=tokens.device)
        x, angles = self._embed(tokens, at), self._angles(at)
        packing = None if real is None else Packing(real)
        if packing is not None:
            x = packing.captions.gather(x.flatten(0, 1))
        x, weights = self.layers(
            x, self.project_image(memory), angles=angles, packing=packing, need_weights=need_weights
        )
        return DecoderOutput(
            self._logits(self.norm(x)), torch.stack(weights, dim=3) if need_weights else None
        )

    def init_cache(
        self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None
    ) -> DecoderCache:
        """An empty cache; see `Decoder.init_cache`."""
        drop_stale_copies(self)
        with reuse_copies():
            image = tuple(layer.contiguous() for layer in self.layers.project(memory))
        B, G, _, d = image[0].keys.shape
        room, like = min(max_length or self.max_length, self.max_length), image[0].keys
        keys, values = ([like.new_zeros(B * num_beams, G, room, d) for _ in image] for _ in range(2))
        if self._compiled is not None:
            of_image = [(layer.keys, layer.values, layer.bias) for layer in image]
            fix_addresses(
                [*keys, *values, *(part for parts in of_image for part in parts if part is not None)]
            )
        return DecoderCache(image, keys, values)

    def step(self, tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        """One more token; see `Decoder.step`."""
        check_room(cache.length, cache.max_length)
        at = torch.arange(cache.length, cache.length + 1, device=tokens.device)
        if self._compiled is not None:
            logits, cache.hidden = self._compiled(tokens, at, cache.image, cache.keys, cache.values)
        else:
            with reuse_copies():
                x, angles = self._embed(tokens[:, :, None], at), self._angles(at)
                x, _ = self.layers(x, cache.image, angles=angles, caches=cache.layers)
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
        self._compiled = compiled(self.static_step, self.token_embedding.weight.device)

    def static_step(
        self,
        tokens: Tensor,
        at: Tensor,
        image: tuple[KeyValue, ...],
        keys: list[Tensor],
        values: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """A step whose shapes do not depend on the number of tokens so far: what is compiled.

        Args:
            tokens: int64 `[B, K]`.
            at: int64 `[1]`, their position.
            image: As in `DecoderCache`.
            keys: As in `DecoderCache`; filled in place.
            values: Like `keys`.

        Returns:
            Logits `[B, K, V]` and the hidden state `[B, K, D]`.
        """
        allowed = torch.arange(keys[0].shape[2], device=at.device) <= at
        x, angles = self._embed(tokens[:, :, None], at), self._angles(at)
        caches = [StaticLayerCache(k, v, at, allowed) for k, v in zip(keys, values, strict=True)]
        x, _ = self.layers(x, image, angles=angles, caches=caches)
        hidden = self.norm(x[:, :, 0])
        return self._logits(hidden), hidden
