"""Greedy search: the most probable token at each step, until EOS.

Axis letters: `B` images, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.constrained_decoder import ConstrainedDecoder
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, constraints_spec
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import PartialCaptions
from captioner.decoding.setting_checks import check_length


class GreedySearch:
    """Greedy search; at `max_length` only EOS is possible.

    Args:
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the reported score; the tokens do not depend on it.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Constraints on every caption.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` tokens can meet the constraints.
    """

    def __init__(
        self,
        *,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
    ) -> None:
        check_length(max_length)
        check_constraints(constraints, max_length)
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)

    def for_images(self, images: Sequence[int]) -> GreedySearch:
        """The search itself, which is deterministic."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {"search": "greedy", "max_length": self.max_length} | self.norm.spec()
        return settings | constraints_spec(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`; one hypothesis each.

        Raises:
            CaptionerError: If the decoder returns NaN, naming the step.
            UsageError: If the constraints leave an image without a next token.
        """
        constrained = ConstrainedDecoder(
            decoder, memory, special, num_beams=1, max_length=self.max_length, constraints=self.constraints
        )
        captions = PartialCaptions(
            memory.shape[0], 1, length=constrained.length, special=special, device=memory.device
        )
        token = torch.full((memory.shape[0], 1), special.begin, device=memory.device)
        for t in range(constrained.length):
            best, token = constrained(token, captions.tokens[:, :, :t]).max(dim=-1)
            constrained.check_dead_ends(((best > NEG_INF) | captions.done).flatten())
            if captions.append(t, token, best):
                break
        return captions.hypotheses(self.norm)
