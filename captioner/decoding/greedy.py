"""Which word is most probable next? Greedy decoding: the best token at each step, until EOS.

Axis letters: `B` images, `L` tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_settings
from captioner.errors import CaptionerError


class GreedySearch:
    """Take the most probable token at each step; at `max_length` only EOS is possible.

    Args:
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score that is reported; the choice does not depend on it.

    Raises:
        UsageError: If a value is out of range.
    """

    def __init__(self, *, max_length: int = 30, length_penalty: float = 0.7) -> None:
        check_settings(max_length=max_length, length_penalty=length_penalty)
        self.max_length = max_length
        self.length_penalty = length_penalty

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        return {"search": "greedy", "max_length": self.max_length, "length_penalty": self.length_penalty}

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`; one hypothesis each.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
        """
        B, T, device = memory.shape[0], min(self.max_length, decoder.max_length), memory.device
        cache = decoder.init_cache(memory, max_length=T)
        token = torch.full((B, 1), special.begin, device=device)
        done = torch.zeros((B, 1), dtype=torch.bool, device=device)
        tokens = torch.full((B, 1, T), special.pad, device=device)
        logprobs = torch.zeros((B, 1, T), device=device)
        banned = torch.tensor(
            sorted({special.pad, special.begin, *special.banned} - {special.end}), device=device
        )
        for t in range(T):
            logits, cache = decoder.step(token, cache)
            step = logits.float().log_softmax(dim=-1)  # [B, 1, V]
            if torch.isnan(step).any():
                raise CaptionerError(f"the decoder gave NaN at step {t + 1}; the model's weights are damaged")
            step[:, :, banned] = float("-inf")
            best, token = step.max(dim=-1)
            if t + 1 == T:
                best, token = step[:, :, special.end], torch.full_like(token, special.end)
            tokens[:, :, t] = token.masked_fill(done, special.pad)
            logprobs[:, :, t] = best.masked_fill(done, 0.0)
            done |= token == special.end
            if bool(done.all()):
                break
        length = (tokens != special.pad).sum(dim=-1)
        return Hypotheses(tokens, logprobs.sum(dim=-1) / length**self.length_penalty, logprobs)
