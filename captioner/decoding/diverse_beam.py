"""Which captions are probable and unlike each other? Diverse beam search: groups that avoid each other's words.

Source: Vijayakumar et al. 2018, "Diverse beam search for improved description of complex scenes" (Hamming diversity).

Axis letters: `B` images, `K` beams of all groups, `G` groups, `S` beams of a group, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.beam import check_beam
from captioner.decoding.beams import Beams, best
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, spec_of
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_count, check_length
from captioner.decoding.length import LengthNorm
from captioner.decoding.steps import Steps
from captioner.errors import UsageError


class DiverseBeamSearch:
    """Beam search in groups that avoid each other's words.

    At each step a group's beams are chosen by log P minus a penalty for each token, as often as the groups before it
    have just chosen that token; penalties add up along a caption. They only decide which captions stay in the beam:
    finished ones are ranked by log P, normalised, as in `BeamSearch`, and ending costs none. Groups may still find the
    same caption; it is given once, so an image may have fewer than `beam_size`.

    Args:
        beam_size: `K`, of all groups together.
        groups: `G`; must divide the beam. With 1 it is beam search.
        diversity: The penalty in nats, 0 or more.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length.
        length_norm: A kind of `LengthNorm`.
        constraints: Rules that every caption obeys.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` can obey.
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
                f"groups={groups} must divide beam_size={beam_size}; take beam_size={groups} or a multiple"
            )
        if (
            isinstance(diversity, bool)
            or not isinstance(diversity, int | float)
            or not 0 <= diversity < float("inf")
        ):
            raise UsageError(f"diversity={diversity!r} must be a number from 0")
        check_length(max_length)
        check_constraints(constraints, max_length)
        self.beam_size = beam_size
        self.groups = groups
        self.diversity = diversity
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)

    def for_images(self, images: Sequence[int]) -> DiverseBeamSearch:
        """Itself: nothing is drawn."""
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
        return settings | spec_of(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If the beam is larger than the vocabulary, or constraints leave an image no caption.
        """
        B, S, device = memory.shape[0], self.beam_size // self.groups, memory.device
        steps = Steps(
            decoder,
            memory,
            special,
            num_beams=self.beam_size,
            max_length=self.max_length,
            constraints=self.constraints,
        )
        groups = [
            Beams(B, S, keep=S, length=steps.length, special=special, norm=self.norm, device=device)
            for _ in range(self.groups)
        ]
        # By what each group's beams are chosen: log P less the penalties so far.
        ranks = [beams.score for beams in groups]
        tokens = torch.full((B, self.beam_size), special.begin, device=device)
        for t in range(steps.length):
            logprobs = steps(tokens, torch.cat([beams.tokens[:, :, :t] for beams in groups], dim=1))
            check_beam(self.beam_size, logprobs.shape[-1])
            parts = torch.split(logprobs, S, dim=1)
            for beams, part in zip(groups, parts, strict=True):
                beams.finish(t, part)
            if t + 1 == steps.length or all(beams.settled() for beams in groups):
                break
            chosen = torch.zeros((B, logprobs.shape[-1]), device=device)  # how often each token, [B, V]
            rows, new = [], []
            for g, (beams, part) in enumerate(zip(groups, parts, strict=True)):
                total = ranks[g][:, :, None] + (part - self.diversity * chosen[:, None])
                total[:, :, special.end] = NEG_INF
                ranks[g], flat = total.flatten(1).topk(S, dim=1)
                score = (beams.score[:, :, None] + part).flatten(1).gather(1, flat)
                row, token = beams.grow(t, flat, part, score.masked_fill(ranks[g] == NEG_INF, NEG_INF))
                chosen.scatter_add_(1, token, (ranks[g] > NEG_INF).to(chosen.dtype))
                rows.append(row + g * S)
                new.append(token)
            tokens = torch.cat(new, dim=1)
            steps.select(torch.cat(rows, dim=1))
        found = reduce(
            lambda a, b: best(a, b, a.scores.shape[1] + S), [_once(groups, g) for g in range(self.groups)]
        )
        steps.refuse_dead_ends(found.scores[:, 0] > NEG_INF)
        return found


def _once(groups: Sequence[Beams], g: int) -> Hypotheses:
    """What a group found and no group before it did; the rest is padding with a score of -inf."""
    pool = groups[g].pool
    if g == 0:
        return pool
    before = torch.cat([beams.pool.tokens for beams in groups[:g]], dim=1)
    # [B, S, 1, L] against [B, 1, g*S, L]
    again = (pool.tokens[:, :, None] == before[:, None]).all(dim=-1).any(dim=-1)
    return Hypotheses(
        pool.tokens.masked_fill(again[..., None], groups[g].pad),
        pool.scores.masked_fill(again, NEG_INF),
        pool.token_logprobs.masked_fill(again[..., None], 0.0),
    )
