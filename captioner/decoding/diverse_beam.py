"""Diverse beam search: groups of beams with a Hamming penalty on the tokens of earlier groups.

Source: Vijayakumar et al. 2018, "Diverse beam search for improved description of complex scenes" (Hamming diversity).

Axis letters: `B` images, `K` beams of all groups, `G` groups, `S` beams of a group, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.beam import check_beam_fits
from captioner.decoding.beam_state import BeamState, merge_best
from captioner.decoding.constrained_decoder import ConstrainedDecoder
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, constraints_spec
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.setting_checks import check_count, check_length, check_number
from captioner.errors import UsageError


class DiverseBeamSearch:
    """Beam search in groups, with a penalty on tokens that earlier groups selected at the same step.

    At each step a group's beams are ranked by log P minus a penalty for each token, once for every beam of the earlier
    groups that has just selected it; penalties accumulate along a caption. They affect only which captions stay in the
    beam: finished ones are ranked by normalised log P, as in `BeamSearch`, and EOS has no penalty. Groups may still
    find the same caption; it is returned once, so an image may have fewer than `beam_size`.

    Args:
        beam_size: `K`, of all groups together.
        groups: `G`; must divide the beam. With 1 it is beam search.
        diversity: The penalty in nats, 0 or more.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length.
        length_norm: A kind of `LengthNorm`.
        constraints: Constraints on every caption.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` tokens can meet the constraints.
    """

    def __init__(
        self,
        beam_size: int = 3,
        *,
        groups: int = 3,
        diversity: float = 0.5,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
    ) -> None:
        check_count("beam_size", beam_size)
        check_count("groups", groups)
        if beam_size % groups:
            raise UsageError(
                f"groups={groups} must divide beam_size={beam_size}; set beam_size={groups} or a multiple"
            )
        check_number("diversity", diversity)
        check_length(max_length)
        check_constraints(constraints, max_length)
        self.beam_size = beam_size
        self.groups = groups
        self.diversity = diversity
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)

    def for_images(self, images: Sequence[int]) -> DiverseBeamSearch:
        """The search itself, which is deterministic."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {
            "search": "diverse_beam",
            "beam_size": self.beam_size,
            "groups": self.groups,
            "diversity": self.diversity,
            "max_length": self.max_length,
        } | self.norm.spec()
        return settings | constraints_spec(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder returns NaN, naming the step.
            UsageError: If the beam is larger than the vocabulary, or the constraints leave an image without a caption.
        """
        B, S, device = memory.shape[0], self.beam_size // self.groups, memory.device
        constrained = ConstrainedDecoder(
            decoder,
            memory,
            special,
            num_beams=self.beam_size,
            max_length=self.max_length,
            constraints=self.constraints,
        )
        groups = [
            BeamState(B, S, keep=S, length=constrained.length, special=special, norm=self.norm, device=device)
            for _ in range(self.groups)
        ]
        # Each group's ranking of live captions: log P less the penalties so far.
        ranks = [beams.score for beams in groups]
        tokens = torch.full((B, self.beam_size), special.begin, device=device)
        for t in range(constrained.length):
            logprobs = constrained(tokens, torch.cat([beams.tokens[:, :, :t] for beams in groups], dim=1))
            check_beam_fits(self.beam_size, logprobs.shape[-1])
            parts = torch.split(logprobs, S, dim=1)
            for beams, part in zip(groups, parts, strict=True):
                beams.finish(t, part)
            if t + 1 == constrained.length or all(beams.is_done() for beams in groups):
                break
            counts = torch.zeros(
                (B, logprobs.shape[-1]), device=device
            )  # of each token in earlier groups, [B, V]
            all_rows, all_tokens = [], []
            for g, (beams, part) in enumerate(zip(groups, parts, strict=True)):
                total = ranks[g][:, :, None] + (part - self.diversity * counts[:, None])
                total[:, :, special.end] = NEG_INF
                ranks[g], flat = total.flatten(1).topk(S, dim=1)
                score = (beams.score[:, :, None] + part).flatten(1).gather(1, flat)
                rows, new = beams.extend(t, flat, part, score.masked_fill(ranks[g] == NEG_INF, NEG_INF))
                counts.scatter_add_(1, new, (ranks[g] > NEG_INF).to(counts.dtype))
                all_rows.append(rows + g * S)
                all_tokens.append(new)
            tokens = torch.cat(all_tokens, dim=1)
            constrained.select(torch.cat(all_rows, dim=1))
        hypotheses = reduce(
            lambda a, b: merge_best(a, b, a.scores.shape[1] + S),
            [_without_duplicates(groups, g) for g in range(self.groups)],
        )
        constrained.check_dead_ends(hypotheses.scores[:, 0] > NEG_INF)
        return hypotheses


def _without_duplicates(groups: Sequence[BeamState], g: int) -> Hypotheses:
    """The pool of group `g`, with captions of earlier groups replaced by padding with a score of -inf."""
    pool = groups[g].pool
    if g == 0:
        return pool
    earlier = torch.cat([beams.pool.tokens for beams in groups[:g]], dim=1)
    # [B, S, 1, L] against [B, 1, g*S, L]
    duplicate = (pool.tokens[:, :, None] == earlier[:, None]).all(dim=-1).any(dim=-1)
    return Hypotheses(
        pool.tokens.masked_fill(duplicate[..., None], groups[g].pad),
        pool.scores.masked_fill(duplicate, NEG_INF),
        pool.token_logprobs.masked_fill(duplicate[..., None], 0.0),
    )
