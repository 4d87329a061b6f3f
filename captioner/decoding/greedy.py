"""Which word is most probable next? Greedy decoding: the best token at each step, until EOS.

Axis letters: `B` images, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, spec_of
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_length
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import Written
from captioner.decoding.steps import Steps


class GreedySearch:
    """Take the most probable token at each step; at `max_length` only EOS is possible.

    Args:
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score that is reported; the choice does not depend on it.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Rules that every caption obeys.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` can obey.
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
        """Itself: nothing is drawn."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {"search": "greedy", "max_length": self.max_length} | self.norm.spec()
        return settings | spec_of(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`; one hypothesis each.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If constraints leave an image nothing to go on with.
        """
        steps = Steps(
            decoder, memory, special, num_beams=1, max_length=self.max_length, constraints=self.constraints
        )
        written = Written(memory.shape[0], 1, length=steps.length, special=special, device=memory.device)
        token = torch.full((memory.shape[0], 1), special.begin, device=memory.device)
        for t in range(steps.length):
            best, token = steps(token, written.tokens[:, :, :t]).max(dim=-1)
            steps.refuse_dead_ends(((best > NEG_INF) | written.done).flatten())
            if written.add(t, token, best):
                break
        return written.hypotheses(self.norm)
