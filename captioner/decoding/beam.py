"""Which caption is most probable? Batched beam search over a cached decoder.

Finished captions leave the beam and are kept in a pool, so that they are frozen and never crowd out live ones. An
image is done when no live beam can still beat the worst caption in its pool, so stopping early loses nothing.

Sources: Graves 2012 and Sutskever et al. 2014 (beam search); Wu et al. 2016 (pruning against finished hypotheses);
Hokamp & Liu 2017 (words that must occur: see `required`).

Axis letters: `B` images, `K` beams, `S` live captions (`K`, or `K` a bank), `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.beams import Beams
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, spec_of
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_count, check_length
from captioner.decoding.length import LengthNorm
from captioner.decoding.required import Required
from captioner.decoding.steps import Steps
from captioner.errors import UsageError


class BeamSearch:
    """Beam search with length normalisation: score = log P(caption) / length ** length_penalty.

    With as many beams as there are unfinished prefixes it is exhaustive search. Every caption ends: at `max_length`
    only EOS is possible, and its log-probability counts. PAD, BOS and UNK are never emitted.

    Args:
        beam_size: `K`. One beam still weighs every place to end; `GreedySearch` ends at the first likely one.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length (EOS included); 0 ranks by log-probability alone.
        length_norm: How captions of different lengths compare: a kind of `LengthNorm`.
        constraints: Rules that every caption obeys.
        required: What every caption contains. `K` beams are then kept for each count of tokens that are in place, so
            that captions on their way to a required word do not compete with those that have it.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` can obey.
    """

    def __init__(
        self,
        beam_size: int = 3,
        *,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
        required: Required | None = None,
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
        """Itself: nothing is drawn."""
        return self

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings = {"search": "beam", "beam_size": self.beam_size, "max_length": self.max_length}
        settings |= self.norm.spec()
        return settings | spec_of(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search the captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If the beam is larger than the vocabulary, or constraints leave an image no caption.
        """
        B, K = memory.shape[0], self.beam_size
        S = K * self.required.num_banks if self.required else K
        steps = Steps(
            decoder,
            memory,
            special,
            num_beams=S,
            max_length=self.max_length,
            constraints=self.constraints,
        )
        beams = Beams(
            B, S, keep=K, length=steps.length, special=special, norm=self.norm, device=memory.device
        )
        tokens = torch.full((B, S), special.begin, device=memory.device)
        for t in range(steps.length):
            prefix = beams.tokens[:, :, :t]
            logprobs = steps(tokens, prefix)
            check_beam(K, logprobs.shape[-1])
            beams.finish(t, logprobs)
            if t + 1 == steps.length or beams.settled():
                break
            total = beams.score[:, :, None] + logprobs
            total[:, :, special.end] = NEG_INF
            if self.required:
                score, flat = self.required.choose(total, prefix, beam_size=K, special=special)
            else:
                score, flat = total.flatten(1).topk(K, dim=1)
            rows, tokens = beams.grow(t, flat, logprobs, score)
            steps.select(rows)
        steps.refuse_dead_ends(beams.pool.scores[:, 0] > NEG_INF)
        return beams.pool


def check_beam(beam_size: int, vocab_size: int, *, name: str = "beam_size") -> None:
    """Refuse a beam that one step could not fill.

    Raises:
        UsageError: If it is larger than the vocabulary.
    """
    if beam_size > vocab_size:
        raise UsageError(
            f"{name}={beam_size} is larger than the vocabulary of {vocab_size} tokens; take {vocab_size} or less"
        )
