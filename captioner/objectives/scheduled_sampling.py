"""Scheduled sampling: a rising fraction of the decoder's input tokens is sampled from its own predictions.

Teacher forcing feeds the decoder reference tokens only; in decoding its inputs are its own outputs. Replacing part of
the inputs, with unchanged targets, reduces this mismatch.

Two passes, for every decoder: the first, on the reference captions, predicts each token; for the second, some inputs
are replaced by samples from those predictions. All positions are replaced at once instead of one after the other.

Sources: Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks" (schedules);
Mihaylova & Martins 2019, "Scheduled sampling for Transformers" (two passes).

Axis letters: `B` images, `C` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captioner.decoding import SpecialTokens
from captioner.errors import UsageError, did_you_mean

SCHEDULES = ("linear", "exponential", "inverse_sigmoid", "constant")
_STEEPNESS = 12.0  # the sigmoid rises from 0.2 % to 99.8 % over the run
_REMAINDER = 0.01  # fraction of reference tokens left at the end of the exponential schedule


class ScheduledSampling:
    """The fraction of sampled input tokens over the run.

    Args:
        final: The fraction at the end of the run, 0–1.
        schedule: One of `SCHEDULES`: "linear"; "exponential", fast at first; "inverse_sigmoid", fast in the middle;
            "constant".

    Raises:
        UsageError: If the fraction is out of range or the schedule unknown.
    """

    def __init__(self, final: float, *, schedule: str = "linear") -> None:
        if not 0 <= final <= 1:
            raise UsageError(
                f"objective.scheduled_sampling={final} must be from 0 to 1: it is a fraction of the input tokens"
            )
        if schedule not in SCHEDULES:
            raise UsageError(
                f"objective.sampling_schedule={schedule} is unknown; choose from {', '.join(SCHEDULES)}"
                f"{did_you_mean(schedule, SCHEDULES)}"
            )
        self.final = final
        self.schedule = schedule

    def fraction(self, progress: float) -> float:
        """The fraction of sampled tokens at training progress `progress`, 0–1."""
        match self.schedule:
            case "linear":
                rise = progress
            case "exponential":
                rise = (1 - _REMAINDER**progress) / (1 - _REMAINDER)
            case "inverse_sigmoid":
                rise = 1 / (1 + math.exp(-_STEEPNESS * (progress - 0.5)))
            case _:
                rise = 1.0
        return self.final * rise


@torch.no_grad()
def replace_by_samples(inputs: Tensor, logits: Tensor, *, fraction: float, special: SpecialTokens) -> Tensor:
    """Decoder inputs of the second pass, int64 `[B, C, L]`.

    Args:
        inputs: int64 `[B, C, L]`, BOS and the tokens of captions, padded.
        logits: `[B, C, L, V]` of the first pass over `inputs`; position i predicts the token at i + 1.
        fraction: Probability, 0–1, that a token is replaced, independently of the others.
        special: Control tokens. They are never sampled, since decoding never feeds them, and BOS, EOS and padding are
            never replaced.
    """
    control = sorted({special.pad, special.begin, special.end, *special.banned})
    excluded = torch.tensor(control, device=logits.device)
    probs = logits[:, :, :-1].float().index_fill(-1, excluded, float("-inf")).softmax(dim=-1)
    samples = torch.multinomial(probs.flatten(0, 2), 1).view(probs.shape[:-1])
    tokens = inputs[:, :, 1:]
    kept = (tokens == special.pad) | (tokens == special.end)
    replaced = (torch.rand(tokens.shape, device=tokens.device) < fraction) & ~kept
    return torch.cat([inputs[:, :, :1], torch.where(replaced, samples, tokens)], dim=2)
