"""Interface of all text decoders: a teacher-forced pass, and cached decoding step by step.

Axis letters: `B` images, `C` captions per image, `K` beams, `L` tokens, `D` width, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.decoders.decoder_output import DecoderOutput


class Decoder(nn.Module, ABC):
    """Token ids and an image memory in, logits of the next token out.

    Args:
        vocab_size: `V`.
        dim: Width `D`, equal to the width of the memory.
        max_length: Longest input in tokens, BOS included.
        dropout: In [0, 1).

    Attributes:
        hard: Whether each token attends to one image token alone, which needs REINFORCE in training.

    Raises:
        UsageError: If a size is not positive or `dropout` is out of range.
    """

    hard: bool = False

    def __init__(self, vocab_size: int, dim: int, *, max_length: int, dropout: float) -> None:
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("dim", dim), ("max_length", max_length)):
            if value < 1:
                raise UsageError(f"decoder {name}={value} must be at least 1")
        if not 0 <= dropout < 1:
            raise UsageError(f"decoder dropout={dropout} must be at least 0 and below 1")
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_length = max_length

    @property
    @abstractmethod
    def partial_attention(self) -> bool:
        """Whether the weights on image tokens may sum to less than 1 in every layer."""

    @abstractmethod
    def forward(
        self, tokens: Tensor, memory: Tensor, *, need_weights: bool = False, real: Tensor | None = None
    ) -> DecoderOutput:
        """Teacher forcing: logits of every next token.

        Padding may stand only at the right; its logits mean nothing.

        Args:
            tokens: int64 `[B, C, L]`, starting with BOS.
            memory: `[B, N, D]`.
            need_weights: Also return the cross-attention of every layer and head; not together with `real`.
            real: bool `[B, C, L]`, False where a token is padding: padding is left out, and logits are those of the
                `M` other tokens in their order, `[M, V]`.

        Raises:
            UsageError: If `L` exceeds `max_length`, or `need_weights` and `real` are given together.
        """

    if TYPE_CHECKING:

        def __call__(
            self, tokens: Tensor, memory: Tensor, *, need_weights: bool = False, real: Tensor | None = None
        ) -> DecoderOutput:
            """As `forward`."""
            ...

    @abstractmethod
    def init_cache(self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None) -> Any:
        """The state before the first token, for `num_beams` captions of each image; a `StepCache`.

        Args:
            memory: `[B, N, D]`.
            num_beams: `K`.
            max_length: Room in tokens, BOS included; by default the decoder's own.
        """

    @abstractmethod
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits `[B, K, V]` after one more token `[B, K]`, and the new cache; equals the last position of `forward`.

        Raises:
            UsageError: If the cache is full.
        """

    @abstractmethod
    def compile_step(self) -> None:
        """Let `step` be compiled when it is first called.

        Raises:
            UsageError: If it cannot be compiled.
        """


def check_room(length: int, max_length: int) -> None:
    """Refuse a step beyond the room of a cache.

    Raises:
        UsageError: If `length` tokens fill it.
    """
    if length >= max_length:
        raise UsageError(f"the cache is full after {length} tokens; give init_cache a larger max_length")
