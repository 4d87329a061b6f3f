"""Output of a decoder's teacher-forced pass: logits, and cross-attention on request.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captioner.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What hard attention drew in training.

    Attributes:
        logprob: `[B, C, L, H]`: log-probability (nats) of the image token drawn for each token and head.
        entropy: `[B, C, L, H]`: entropy (nats) of the distribution it was drawn from.
    """

    logprob: Tensor
    entropy: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DecoderOutput:
    """The result of a teacher-forced pass.

    Attributes:
        logits: `[B, C, L, V]`; position i predicts token i + 1. Where padding was left out `[M, V]`, for the `M` other
            tokens.
        cross_attention: `[B, C, L, layers, H, N]`; None unless requested. Rows sum to 1, or to less with a normaliser
            whose weights may. With a visual sentinel they are `1 + N` long, its own weight first.
        choice: What hard attention drew, in training; else None.
    """

    logits: Tensor
    cross_attention: Tensor | None
    choice: Choice | None = None


def check_request(*, length: int, max_length: int, need_weights: bool, real: Tensor | None) -> None:
    """Refuse a teacher-forced pass that a decoder cannot compute.

    Args:
        length: Tokens of a caption.
        max_length: The decoder's longest input.
        need_weights: Whether weights are requested.
        real: Which tokens are no padding, if it is to be left out.

    Raises:
        UsageError: If the captions are too long, or weights are requested where padding is left out.
    """
    if need_weights and real is not None:
        raise UsageError(
            "need_weights=True returns the attention of all positions, and real leaves those of the padding out; "
            "give one of the two"
        )
    if length > max_length:
        raise UsageError(
            f"a caption of {length} tokens exceeds the decoder's max_length={max_length}; "
            "raise model.decoder.max_length or shorten the caption"
        )
