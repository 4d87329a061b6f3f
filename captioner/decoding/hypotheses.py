"""What does a search give? `Hypotheses`: token ids, scores and log-probabilities, best first.

Axis letters: `B` images, `K` captions per image, `L` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from captioner.models.cache import DecoderCache


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """Captions found for each image, best first.

    Attributes:
        tokens: int64 `[B, K, L]`: the words, then EOS, then padding; without BOS.
        scores: `[B, K]` nats; what the search ranked by.
        token_logprobs: `[B, K, L]` nats; 0 where padded.
    """

    tokens: Tensor
    scores: Tensor
    token_logprobs: Tensor


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids a search must know.

    `begin` starts every caption, `end` ends it, `pad` fills up, and `banned` are never emitted.
    """

    pad: int
    begin: int
    end: int
    banned: tuple[int, ...]


class StepDecoder(Protocol):
    """What a search needs of a decoder."""

    max_length: int

    def init_cache(
        self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None
    ) -> DecoderCache:
        """An empty cache for `num_beams` captions of each image of the memory `[B, N, D]`."""
        ...

    def step(self, tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        """Logits `[B, K, V]` after the tokens `[B, K]`."""
        ...


class Search(Protocol):
    """A way to choose captions: the decoder and a memory `[B, N, D]` in, `Hypotheses` out."""

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search all images at once."""
        ...

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        ...
