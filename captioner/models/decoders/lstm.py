"""LSTM decoder with attention: "Show, Attend and Tell", and its adaptive successor with a visual sentinel.

With hₜ₋₁ the state, aᵢ the image tokens and E y the embedded token, Xu et al. attend before they step:

    h₀ = tanh f(ā),  c₀ = tanh g(ā)                        ā the mean image token
    ẑₜ = βₜ Σᵢ αₜᵢ aᵢ,  αₜ = softmax score(hₜ₋₁, a)         βₜ = σ(f_β hₜ₋₁): a gate on the image
    hₜ, cₜ = LSTM([E yₜ₋₁, ẑₜ], hₜ₋₁, cₜ₋₁)
    p(yₜ) ∝ exp Lₒ(E yₜ₋₁ + L_h hₜ + L_z ẑₜ)               the deep output layer

With a visual sentinel, as Lu et al., they step first, on [E yₜ₋₁, ā], and attend with the new hₜ; the sentinel, made of
the memory cell cₜ, competes with the image tokens and takes the place of β.

Sources: Xu et al. 2015, "Show, Attend and Tell"; Lu et al. 2017, "Knowing When to Look"; Jozefowicz et al. 2015 (a
forget gate that starts open).

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens,
`V` vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.attention import MultiHeadAttention
from captioner.models.decoders.cache import LstmState
from captioner.models.decoders.decoder import Decoder, check_room
from captioner.models.decoders.decoder_output import Choice, DecoderOutput, check_request
from captioner.models.decoders.packing import Packing
from captioner.models.linear import Linear, linear
from captioner.models.normalisers import PARTIAL
from captioner.models.sentinel import VisualSentinel
from captioner.models.weight_copies import drop_stale_copies, reuse_copies


class LstmDecoder(Decoder):
    """Token ids and an image memory in, logits of the next token out, by one LSTM that attends at each step.

    Args:
        vocab_size: `V`.
        dim: Width `D` of embedding, state and memory.
        num_heads: Heads of the attention; the papers have 1.
        max_length: Longest input in tokens, BOS included.
        dropout: Applied to embeddings and before the output.
        tie_weights: Use the token embedding as the output projection.
        num_kv_heads: As in `MultiHeadAttention`.
        score: As in `MultiHeadAttention`; the papers have the additive one.
        normaliser: As in `MultiHeadAttention`.
        sentinel: Adaptive attention with a visual sentinel (Lu et al.).
        hard: Hard attention: attend to one image token; the objective must train the choice by REINFORCE.
        fused: As in `MultiHeadAttention`.

    Raises:
        UsageError: If a size is not positive, `num_heads` does not divide `dim`, `dropout` is not in [0, 1), a name is
            not known, `hard` is combined with weights that do not sum to 1, or `fused` is True and no fused kernel
            computes this attention.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        num_heads: int = 1,
        max_length: int = 64,
        dropout: float = 0.1,
        tie_weights: bool = False,
        num_kv_heads: int | None = None,
        score: str = "additive",
        normaliser: str = "softmax",
        sentinel: bool = False,
        hard: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(vocab_size, dim, max_length=max_length, dropout=dropout)
        if hard and normaliser in PARTIAL:
            raise UsageError(
                f"hard=true draws an image token, and with normaliser={normaliser} the weights do not sum to 1; "
                "take softmax, sparsemax or entmax15, or a sentinel"
            )
        if hard and fused:
            raise UsageError(
                "fused=true, but no fused kernel computes hard attention (hard=true), which draws from the weights; "
                "take fused=null"
            )
        self.hard = hard
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.init_hidden = Linear(dim, dim)
        self.init_cell = Linear(dim, dim)
        self.attention = MultiHeadAttention(
            dim,
            num_heads,
            num_kv_heads=num_kv_heads,
            score=score,
            normaliser=normaliser,
            sentinel=sentinel,
            fused=fused,
        )
        self.sentinel = VisualSentinel(2 * dim, dim) if sentinel else None
        self.gate = None if sentinel else Linear(dim, 1)
        self.cell = nn.LSTMCell(2 * dim, dim)
        self.from_hidden = Linear(dim, dim)
        self.from_context = Linear(dim, dim)
        self.head = None if tie_weights else Linear(dim, vocab_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self._init_weights(dim)

    @property
    def partial_attention(self) -> bool:
        """As in `Decoder`."""
        return self.attention.partial

    def _init_weights(self, dim: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.token_embedding.weight, std=dim**-0.5)
        with torch.no_grad():
            self.cell.bias_ih[dim : 2 * dim].fill_(1.0)

    def init_cache(self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None) -> LstmState:
        """The state before the first token; see `Decoder.init_cache`."""
        drop_stale_copies(self)
        with reuse_copies():
            return self._start(memory, num_beams, max_length)

    def _start(self, memory: Tensor, num_beams: int, max_length: int | None = None) -> LstmState:
        mean = memory.mean(dim=1)  # [B, D]
        hidden, cell = (
            torch.tanh(start(mean))[:, None].repeat(1, num_beams, 1)
            for start in (self.init_hidden, self.init_cell)
        )
        room = min(max_length or self.max_length, self.max_length)
        return LstmState(self.attention.project(memory).contiguous(), mean, hidden, cell, room)

    def forward(
        self, tokens: Tensor, memory: Tensor, *, need_weights: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        """Teacher forcing: logits of every next token, one after the other; see `Decoder.forward`."""
        _, C, L = tokens.shape
        check_request(length=L, max_length=self.max_length, need_weights=need_weights, real=real)
        state = self._start(memory, C)
        inputs: list[tuple[Tensor, Tensor, Tensor]] = []
        weights: list[Tensor] = []
        choices: list[Choice] = []
        for t in range(L):
            word, context, w, choice = self._advance(tokens[:, :, t], state, need_weights=need_weights)
            inputs.append((word, state.hidden, context))
            if w is not None:
                weights.append(w)
            if choice is not None:
                choices.append(choice)
        # No step depends on the output layer: it computes all tokens at once, [B, C, L, D], or [M, D] without padding.
        parts = (torch.stack(part, dim=2) for part in zip(*inputs, strict=True))
        if real is not None:
            layout = Packing(real).captions
            parts = (layout.gather(part.flatten(0, 1)) for part in parts)
        logits = self._logits(*parts)
        attention = None
        if need_weights:  # [B, H, C, N] a token -> [B, C, L, 1, H, N]
            attention = torch.stack(weights, dim=1).permute(0, 3, 1, 2, 4)[:, :, :, None]
        return DecoderOutput(logits, attention, _stacked(choices) if self.training and choices else None)

    def step(self, tokens: Tensor, cache: LstmState) -> tuple[Tensor, LstmState]:
        """One more token; see `Decoder.step`."""
        check_room(cache.length, cache.max_length)
        with reuse_copies():
            word, context, _, _ = self._advance(tokens, cache)
            return self._logits(word, cache.hidden, context), cache

    def compile_step(self) -> None:
        """Nothing would be gained.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "compile=true compiles a Transformer's step; an LSTM's is a few large products, so leave compile out"
        )

    def _advance(
        self, tokens: Tensor, state: LstmState, *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Choice | None]:
        """Attend and step, or step and attend, on one token `[B, C]`; the state is updated.

        Returns:
            The embedded token and the context, `[B, C, D]` each, the weights `[B, H, C, N]` or None, and what hard
            attention chose or None.
        """
        word = self.dropout(self.token_embedding(tokens) * math.sqrt(self.dim))
        if self.sentinel is None:
            context, weights, choice = self._attend(state, None, need_weights)
            assert self.gate is not None
            context = torch.sigmoid(self.gate(state.hidden)) * context
            self._move(torch.cat([word, context], dim=-1), state)
        else:
            before = state.hidden
            x = torch.cat([word, state.mean[:, None].expand_as(word)], dim=-1)
            self._move(x, state)
            sentinel = self.sentinel(x, before, state.cell)
            context, weights, choice = self._attend(state, sentinel, need_weights)
        return word, context, weights, choice

    def _attend(
        self, state: LstmState, sentinel: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None, Choice | None]:
        if self.hard:
            context, weights, choice = self.attention.forward_hard(
                state.hidden, state.image, draw=self.training, sentinel=sentinel
            )
            return context, weights if need_weights else None, choice
        context, soft = self.attention(
            state.hidden, state.image, sentinel=sentinel, need_weights=need_weights
        )
        return context, soft, None

    def _move(self, x: Tensor, state: LstmState) -> None:
        # LSTMCell takes one batch axis: [B, C, D] -> [B*C, D]
        B, C, _ = x.shape
        h, c = self._cell(x.flatten(0, 1), state.hidden.flatten(0, 1), state.cell.flatten(0, 1))
        state.hidden, state.cell, state.length = h.view(B, C, -1), c.view(B, C, -1), state.length + 1

    def _cell(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The new h and c `[M, D]` after x `[M, 2 D]`; on a CPU by `linear`, elsewhere by a fused kernel."""
        if x.device.type != "cpu":
            new: tuple[Tensor, Tensor] = self.cell(x, (h, c))
            return new
        cell, training = self.cell, self.training
        gates = linear(x, cell.weight_ih, cell.bias_ih, training=training)
        gates = gates + linear(h, cell.weight_hh, cell.bias_hh, training=training)
        into, forget, candidate, out = gates.chunk(4, dim=-1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(candidate)
        return torch.sigmoid(out) * torch.tanh(c), c

    def _logits(self, word: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        """The deep output layer on `[..., D]` each: `[..., V]`."""
        x = word + self.from_hidden(hidden) + self.from_context(context)
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return linear(self.dropout(x), weight, training=self.training)


def _stacked(choices: list[Choice]) -> Choice:
    # [B, H, C] a token -> [B, C, L, H]
    return Choice(
        torch.stack([choice.logprob for choice in choices], dim=-1).permute(0, 2, 3, 1),
        torch.stack([choice.entropy for choice in choices], dim=-1).permute(0, 2, 3, 1),
    )
