"""Inputs and outputs of searches: `Hypotheses`, special tokens, and the protocols of decoder, cache and search.

Axis letters: `B` images, `K` captions per image, `L` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """The captions of each image, best first.

    Where fewer captions exist than were requested, the remaining rows are all padding with a score of -inf.

    Attributes:
        tokens: int64 `[B, K, L]`: the words, then EOS, then padding; without BOS.
        scores: `[B, K]` nats; log P(caption), normalised by its length. Searches rank by it unless they say otherwise.
        token_logprobs: `[B, K, L]` nats; 0 at padding. They are those of the model's own distribution: constraints and
            a sampler's temperature and filters affect which tokens are selected, not the reported values.
    """

    tokens: Tensor
    scores: Tensor
    token_logprobs: Tensor

    def select(self, rows: Tensor) -> Hypotheses:
        """The captions at `rows` `[B, K']` of each image, in that order."""
        return Hypotheses(
            gather_rows(self.tokens, rows),
            self.scores.gather(1, rows),
            gather_rows(self.token_logprobs, rows),
        )


def gather_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Rows `[B, K']` of `[B, K, L]`: `[B, K', L]`."""
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2]))


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The token ids with a meaning for the search.

    Attributes:
        pad: Padding after EOS.
        begin: First input of every caption (BOS).
        end: Last token of every caption (EOS).
        banned: Tokens that are never emitted.
    """

    pad: int
    begin: int
    end: int
    banned: tuple[int, ...]


class StepDecoder(Protocol):
    """The part of a decoder's interface that searches use."""

    max_length: int

    def init_cache(self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None) -> Any:
        """An empty `StepCache` for `num_beams` captions of each image of the memory `[B, N, D]`."""
        ...

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits `[B, K, V]` after the tokens `[B, K]`."""
        ...


class StepCache(Protocol):
    """The part of a cache's interface that searches use.

    Attributes:
        hidden: `[B, K, D]`: the state from which the last step's logits were computed, or None before the first.
    """

    hidden: Tensor | None

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        ...


class Search(Protocol):
    """A decoding method: from a decoder and a memory `[B, N, D]` to `Hypotheses`."""

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images at once."""
        ...

    def for_images(self, images: Sequence[int]) -> Search:
        """The same search for a batch of the images with these numbers, counted in the order of the input.

        A search that samples gives each number its own random stream, so that captions do not depend on the batching.
        Called on its own result, it numbers within those images. Deterministic searches return themselves.
        """
        ...

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        ...


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """The `SpecialTokens` of a tokenizer; UNK is banned."""
    return SpecialTokens(
        pad=tokenizer.pad_id, begin=tokenizer.bos_id, end=tokenizer.eos_id, banned=(tokenizer.unk_id,)
    )
