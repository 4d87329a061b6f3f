"""Which word is probable and says something new? Contrastive search: confidence against likeness to what was written.

Source: Su et al. 2022, "A contrastive framework for neural text generation".

Axis letters: `B` images, `K` candidates at each step, `D` width of the hidden state, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.decoding.beam import check_beam
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, spec_of
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_count, check_length
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import Written
from captioner.decoding.steps import Steps
from captioner.errors import UsageError


class ContrastiveSearch:
    """Of the most probable tokens take the one with the largest (1 - alpha) p(token) - alpha likeness.

    Likeness is the largest cosine between the hidden state after the token and those after BOS and the tokens before
    it. With alpha 0 or one candidate it is greedy decoding.

    Args:
        candidates: `K`, tokens weighed at each step; all are run through the decoder as beams of one batch.
        alpha: Weight of the likeness, 0–1.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Rules that every caption obeys.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` can obey.
    """

    def __init__(
        self,
        candidates: int = 4,
        *,
        alpha: float = 0.3,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
    ) -> None:
        check_count("candidates", candidates)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
            raise UsageError(f"alpha={alpha!r} must be a number from 0 to 1")
        check_length(max_length)
        check_constraints(constraints, max_length)
        self.candidates = candidates
        self.alpha = alpha
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)

    def for_images(self, images: Sequence[int]) -> ContrastiveSearch:
        """Itself: nothing is drawn."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {
            "search": "contrastive",
            "candidates": self.candidates,
            "alpha": self.alpha,
            "max_length": self.max_length,
        } | self.norm.spec()
        return settings | spec_of(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`; one hypothesis each.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If there are more candidates than tokens, the decoder keeps no hidden state, or constraints
                leave an image nothing to go on with.
        """
        B, K, device = memory.shape[0], self.candidates, memory.device
        steps = Steps(
            decoder, memory, special, num_beams=K, max_length=self.max_length, constraints=self.constraints
        )
        written = Written(B, 1, length=steps.length, special=special, device=device)
        logits = steps.logits(torch.full((B, K), special.begin, device=device))[:, :1]
        check_beam(K, logits.shape[-1], name="candidates")
        states = _directions(steps)[:, :1]  # after BOS and each token written: [B, 1 + L, D]
        for t in range(steps.length):
            logprobs = steps.logprobs(logits, written.tokens[:, :, :t])
            values, tokens = logprobs[:, 0].topk(K, dim=1)  # [B, K]
            steps.refuse_dead_ends((values[:, 0] > NEG_INF) | written.done[:, 0])
            if t + 1 == steps.length:  # only EOS is left
                written.add(t, tokens[:, :1], values[:, :1])
                break
            logits = steps.logits(tokens)
            steps.refuse_nan(logits.float().logsumexp(dim=-1))  # of all candidates, not only of the one taken
            after = _directions(steps)
            likeness = (after @ states.transpose(1, 2)).amax(dim=-1)
            value = (1 - self.alpha) * values.exp() - self.alpha * likeness
            row = value.masked_fill(values == NEG_INF, NEG_INF).argmax(dim=1, keepdim=True)  # [B, 1]
            if written.add(t, tokens.gather(1, row), values.gather(1, row)):
                break
            # All candidates of the next step continue from the one that was taken.
            steps.select(row.expand(-1, K))
            logits = logits.gather(1, row[:, :, None].expand(-1, -1, logits.shape[-1]))
            states = torch.cat(
                [states, after.gather(1, row[:, :, None].expand(-1, -1, after.shape[-1]))], dim=1
            )
        return written.hypotheses(self.norm)


def _directions(steps: Steps) -> Tensor:
    """The hidden states of the last step `[B, K, D]`, of length 1."""
    hidden = getattr(steps.cache, "hidden", None)
    if hidden is None:
        raise UsageError(
            "this decoder keeps no hidden state, which contrastive search compares; take another search"
        )
    return F.normalize(hidden.float(), dim=-1)
