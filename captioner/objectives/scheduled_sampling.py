"""What if a word before was wrong? Scheduled sampling: while it learns, the decoder reads some words of its own.

Teacher forcing shows the decoder only what people wrote; decoding, it reads what it wrote itself. So a growing share of
the words it reads is drawn from its own predictions, while what it is to predict stays.

In two passes, for every decoder: the first reads the captions as they are and predicts each word; in the second, some
words are replaced by what the first drew in their place. All places at once, instead of one after the other.

Sources: Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks" (schedules);
Mihaylova & Martins 2019, "Scheduled sampling for Transformers" (two passes).

Axis letters: `B` images, `C` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captioner.decoding import SpecialTokens
from captioner.errors import UsageError

SCHEDULES = ("linear", "exponential", "inverse_sigmoid", "constant")
_STEEP = 12.0  # the sigmoid goes from 0.2 % to 99.8 % over the run
_LEFT = 0.01  # of people's words, at the end of the exponential schedule


class ScheduledSampling:
    """A share of own words that grows over the run.

    Args:
        most: The share at the end of the run, 0–1.
        schedule: One of `SCHEDULES`: in a line; fast first; slow, fast, slow; or the same throughout.

    Raises:
        UsageError: If the share is out of range or the schedule unknown.
    """

    def __init__(self, most: float, *, schedule: str = "linear") -> None:
        if not 0 <= most <= 1:
            raise UsageError(f"objective.scheduled_sampling={most} must be a share of words, 0 to 1")
        if schedule not in SCHEDULES:
            raise UsageError(
                f"objective.sampling_schedule={schedule} is unknown; choose from {', '.join(SCHEDULES)}"
            )
        self.most = most
        self.schedule = schedule

    def share(self, progress: float) -> float:
        """The share of own words when `progress`, 0–1, of the run is over."""
        match self.schedule:
            case "linear":
                rise = progress
            case "exponential":
                rise = (1 - _LEFT**progress) / (1 - _LEFT)
            case "inverse_sigmoid":
                rise = 1 / (1 + math.exp(-_STEEP * (progress - 0.5)))
            case _:
                rise = 1.0
        return self.most * rise


@torch.no_grad()
def with_own_words(inputs: Tensor, logits: Tensor, *, share: float, special: SpecialTokens) -> Tensor:
    """What the decoder reads in the second pass.

    Args:
        inputs: int64 `[B, C, L]`, BOS and the words of captions, padded.
        logits: `[B, C, L, V]` of the first pass over `inputs`; position i predicts what stands at i + 1.
        share: How many of the words are replaced, 0–1, each by chance.
        special: Ids that are no words: decoding reads none of them, so none is drawn, and BOS and padding stay.
    """
    control = sorted({special.pad, special.begin, special.end, *special.banned})
    never = torch.tensor(control, device=logits.device)
    weights = logits[:, :, :-1].float().index_fill(-1, never, float("-inf")).softmax(dim=-1)
    own = torch.multinomial(weights.flatten(0, 2), 1).view(weights.shape[:-1])
    words = inputs[:, :, 1:]
    kept = (words == special.pad) | (words == special.end)
    replaced = (torch.rand(words.shape, device=words.device) < share) & ~kept
    return torch.cat([inputs[:, :, :1], torch.where(replaced, own, words)], dim=2)
