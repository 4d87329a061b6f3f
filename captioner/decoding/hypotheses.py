"""What does a search take, and what does it give? `Hypotheses`: token ids, scores and log-probabilities, best first.

Axis letters: `B` images, `K` captions per image, `L` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from captioner.errors import UsageError
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """Captions found for each image, best first.

    Where fewer captions are possible than were asked for, the rest is all padding with a score of -inf.

    Attributes:
        tokens: int64 `[B, K, L]`: the words, then EOS, then padding; without BOS.
        scores: `[B, K]` nats; log P(caption), normalised by its length. Searches rank by it unless they say otherwise.
        token_logprobs: `[B, K, L]` nats; 0 where padded. They are the model's own: what constraints forbid, and how a
            sampler sharpens or cuts the distribution, decides which tokens are chosen, not what is reported of them.
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

    def init_cache(self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None) -> Any:
        """An empty cache for `num_beams` captions of each image of the memory `[B, N, D]`; see `StepCache`."""
        ...

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits `[B, K, V]` after the tokens `[B, K]`."""
        ...


class StepCache(Protocol):
    """What a search needs of a decoder's cache.

    Attributes:
        hidden: `[B, K, D]`: the state from which the last step's logits were made, or None before the first.
    """

    hidden: Tensor | None

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        ...


class Search(Protocol):
    """A way to choose captions: the decoder and a memory `[B, N, D]` in, `Hypotheses` out."""

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search all images at once."""
        ...

    def for_images(self, images: Sequence[int]) -> Search:
        """The same search for a batch of these images, numbered in the order in which they were given.

        A search that draws gives each number its own stream, so that captions do not depend on how images are
        batched. Called on what it returned, it numbers within those images. Other searches return themselves.
        """
        ...

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        ...


def check_length(max_length: int) -> None:
    """Refuse a longest length that no search can work with; it may come from a command line.

    Raises:
        UsageError: If `max_length` is no whole number from 1.
    """
    check_count("max_length", max_length, unit=" token")


def check_count(name: str, value: int, *, least: int = 1, unit: str = "") -> None:
    """Refuse what is no whole number from `least`.

    Raises:
        UsageError: Naming the setting and its value.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name}={value!r} must be a whole number{' of tokens' if unit else ''}")
    if value < least:
        raise UsageError(f"{name}={value} must be at least {least}{unit}")


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """The `SpecialTokens` of a tokenizer; UNK is banned."""
    return SpecialTokens(
        pad=tokenizer.pad_id, begin=tokenizer.bos_id, end=tokenizer.eos_id, banned=(tokenizer.unk_id,)
    )
