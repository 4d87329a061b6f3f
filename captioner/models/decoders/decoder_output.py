"""What does every decoder give? Logits, and on request where it looked.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from captioner.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The places that hard attention drew while it learns.

    Attributes:
        logprob: `[B, C, L, H]`: log-probability (nats) of the place drawn for each token and head.
        entropy: `[B, C, L, H]`: entropy (nats) of the distribution it was drawn from.
    """

    logprob: Tensor
    entropy: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DecoderOutput:
    """What a teacher-forced pass gives.

    Attributes:
        logits: `[B, C, L, V]`; position i predicts token i + 1. Where padding was left out `[M, V]`, for the `M` words.
        cross_attention: `[B, C, L, layers, H, N]`; None unless asked for. Rows sum to 1, or to less where the
            normaliser lets attention go nowhere. With a visual sentinel they are `1 + N` long, its own weight in front.
        choice: What hard attention drew, in training; else None.
    """

    logits: Tensor
    cross_attention: Tensor | None
    choice: Choice | None = None


def check_request(*, need_weights: bool, real: Tensor | None) -> None:
    """Refuse to show where words looked while the padding is left out: there is no rectangle to show it in.

    Raises:
        UsageError: If both are asked for.
    """
    if need_weights and real is not None:
        raise UsageError(
            "need_weights=True asks for the attention of all places, and real leaves those of the padding out; "
            "give one of the two"
        )
