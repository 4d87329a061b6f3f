"""Contrastive search: model confidence against the similarity of hidden states to those of previous tokens.

Source: Su et al. 2022, "A contrastive framework for neural text generation".

Axis letters: `B` images, `K` candidates at each step, `D` width of the hidden state, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.decoding.beam import check_beam_fits
from captioner.decoding.constrained_decoder import ConstrainedDecoder
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, constraints_spec
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, gather_rows
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import PartialCaptions
from captioner.decoding.setting_checks import check_count, check_length, check_number
from captioner.errors import UsageError


class ContrastiveSearch:
    """At each step, of the most probable tokens the one with the largest (1 - alpha) p(token) - alpha similarity.

    The similarity is the largest cosine between the hidden state after the token and those after BOS and the tokens
    before it. With alpha 0 or one candidate it is greedy search.

    Args:
        candidates: `K`, tokens compared at each step; all are passed through the decoder as beams of one batch.
        alpha: Weight of the similarity, 0 to 1.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Constraints on every caption.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` tokens can meet the constraints.
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
        check_number("alpha", alpha, most=1.0)
        check_length(max_length)
        check_constraints(constraints, max_length)
        self.candidates = candidates
        self.alpha = alpha
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)

    def for_images(self, images: Sequence[int]) -> ContrastiveSearch:
        """The search itself, which is deterministic."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {
            "search": "contrastive",
            "candidates": self.candidates,
            "alpha": self.alpha,
            "max_length": self.max_length,
        } | self.norm.spec()
        return settings | constraints_spec(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`; one hypothesis each.

        Raises:
            CaptionerError: If the decoder returns NaN, naming the step.
            UsageError: If there are more candidates than tokens, the decoder's cache has no hidden state, or the
                constraints leave an image without a next token.
        """
        B, K, device = memory.shape[0], self.candidates, memory.device
        constrained = ConstrainedDecoder(
            decoder, memory, special, num_beams=K, max_length=self.max_length, constraints=self.constraints
        )
        captions = PartialCaptions(B, 1, length=constrained.length, special=special, device=device)
        logits = constrained.logits(torch.full((B, K), special.begin, device=device))[:, :1]
        check_beam_fits(K, logits.shape[-1], name="candidates")
        states = _unit_states(constrained)[:, :1]  # after BOS and each token so far: [B, 1 + L, D]
        for t in range(constrained.length):
            logprobs = constrained.logprobs(logits, captions.tokens[:, :, :t])
            values, tokens = logprobs[:, 0].topk(K, dim=1)  # [B, K]
            constrained.check_dead_ends((values[:, 0] > NEG_INF) | captions.done[:, 0])
            if t + 1 == constrained.length:  # only EOS is allowed
                captions.append(t, tokens[:, :1], values[:, :1])
                break
            logits = constrained.logits(tokens)
            constrained.check_nan(
                logits.float().logsumexp(dim=-1)
            )  # of all candidates, not only the selected one
            candidate_states = _unit_states(constrained)
            similarity = (candidate_states @ states.transpose(1, 2)).amax(dim=-1)
            value = (1 - self.alpha) * values.exp() - self.alpha * similarity
            row = value.masked_fill(values == NEG_INF, NEG_INF).argmax(dim=1, keepdim=True)  # [B, 1]
            if captions.append(t, tokens.gather(1, row), values.gather(1, row)):
                break
            # All candidates of the next step continue from the selected one.
            constrained.select(row.expand(-1, K))
            logits = gather_rows(logits, row)
            states = torch.cat([states, gather_rows(candidate_states, row)], dim=1)
        return captions.hypotheses(self.norm)


def _unit_states(constrained: ConstrainedDecoder) -> Tensor:
    """The hidden states of the last step `[B, K, D]`, normalised to length 1."""
    hidden = getattr(constrained.cache, "hidden", None)
    if hidden is None:
        raise UsageError(
            "method=contrastive compares hidden states, and this decoder's cache has none; choose another method"
        )
    return F.normalize(hidden.float(), dim=-1)
