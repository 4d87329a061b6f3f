"""Batched beam search over a cached decoder with length normalisation.

Finished captions leave the beam and are kept in a pool, so that they do not compete with live ones. An image is done
when no live beam can still beat the worst caption of its pool, so stopping early does not change the result.

Sources: Graves 2012 and Sutskever et al. 2014 (beam search); Wu et al. 2016 (pruning against finished hypotheses);
Hokamp & Liu 2017 (required words: see `required_tokens`).

Axis letters: `B` images, `K` beams, `S` live captions (`K`, or `K` per bank), `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.beam_state import BeamState
from captioner.decoding.constrained_decoder import ConstrainedDecoder
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, constraints_spec
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.required_tokens import RequiredTokens
from captioner.decoding.setting_checks import check_count, check_length
from captioner.errors import UsageError


class BeamSearch:
    """Beam search with length normalisation: score = log P(caption) / length ** length_penalty.

    With as many beams as there are unfinished prefixes it is exhaustive search. Every caption ends: at `max_length`
    only EOS is possible, and its log-probability counts. PAD, BOS and UNK are never emitted.

    Args:
        beam_size: `K`. One beam still compares every place to end; `GreedySearch` stops where EOS is first the most
            probable token.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length (EOS included); 0 ranks by log-probability alone.
        length_norm: Length normalisation: a kind of `LengthNorm`.
        constraints: Constraints on every caption.
        required: Tokens that every caption contains. `K` beams are then kept for each count of required tokens in
            place, so that captions without a required word do not compete with those that have it.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` tokens can meet the constraints.
    """

    def __init__(
        self,
        beam_size: int = 3,
        *,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
        required: RequiredTokens | None = None,
    ) -> None:
        check_count("beam_size", beam_size)
        check_length(max_length)
        self.beam_size = beam_size
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.required = required
        self.constraints = (*constraints, required) if required else tuple(constraints)
        check_constraints(self.constraints, max_length)

    def for_images(self, images: Sequence[int]) -> BeamSearch:
        """The search itself, which is deterministic."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {"search": "beam", "beam_size": self.beam_size, "max_length": self.max_length}
        settings |= self.norm.spec()
        return settings | constraints_spec(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder returns NaN, naming the step.
            UsageError: If the beam is larger than the vocabulary, or the constraints leave an image without a caption.
        """
        B, K = memory.shape[0], self.beam_size
        S = K * self.required.num_banks if self.required else K
        constrained = ConstrainedDecoder(
            decoder,
            memory,
            special,
            num_beams=S,
            max_length=self.max_length,
            constraints=self.constraints,
        )
        beams = BeamState(
            B, S, keep=K, length=constrained.length, special=special, norm=self.norm, device=memory.device
        )
        tokens = torch.full((B, S), special.begin, device=memory.device)
        for t in range(constrained.length):
            prefix = beams.tokens[:, :, :t]
            logprobs = constrained(tokens, prefix)
            check_beam_fits(K, logprobs.shape[-1])
            beams.finish(t, logprobs)
            if t + 1 == constrained.length or beams.is_done():
                break
            total = beams.score[:, :, None] + logprobs
            total[:, :, special.end] = NEG_INF
            if self.required:
                score, flat = self.required.best_per_bank(total, prefix, beam_size=K, special=special)
            else:
                score, flat = total.flatten(1).topk(K, dim=1)
            rows, tokens = beams.extend(t, flat, logprobs, score)
            constrained.select(rows)
        constrained.check_dead_ends(beams.pool.scores[:, 0] > NEG_INF)
        return beams.pool


def check_beam_fits(beam_size: int, vocab_size: int, *, name: str = "beam_size") -> None:
    """Refuse more beams than one step has continuations.

    Raises:
        UsageError: If the beam is larger than the vocabulary.
    """
    if beam_size > vocab_size:
        raise UsageError(
            f"{name}={beam_size} is larger than the vocabulary of {vocab_size} tokens; "
            f"set {name} to {vocab_size} or less"
        )
