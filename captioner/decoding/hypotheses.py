"""What does a search give? `Hypotheses`: token ids, scores and log-probabilities, best first.

Axis letters: `B` images, `K` captions per image, `L` tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from captioner.errors import UsageError
from captioner.models.cache import DecoderCache


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """Captions found for each image, best first.

    Where fewer captions are possible than were asked for, the rest is all padding with a score of -inf.

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


def check_settings(*, max_length: int, length_penalty: float) -> None:
    """Refuse a longest length or a length penalty that no search can work with; they may come from a command line.

    Raises:
        UsageError: If `max_length` is no whole number from 1, or `length_penalty` no finite number from 0.
    """
    if not isinstance(max_length, int):
        raise UsageError(f"max_length={max_length!r} must be a whole number of tokens")
    if max_length < 1:
        raise UsageError(f"max_length={max_length} must be at least 1 token")
    if not isinstance(length_penalty, int | float) or not 0 <= length_penalty < math.inf:
        raise UsageError(f"length_penalty={length_penalty!r} must be a number from 0")
