"""What has been written so far? Captions that grow by a token a step, each until its EOS.

Axis letters: `B` images, `K` captions of each image, `L` tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.decoding.hypotheses import Hypotheses, SpecialTokens
from captioner.decoding.length import LengthNorm


class Written:
    """Captions that are written token by token, each until its EOS.

    Args:
        images: `B`.
        captions: `K`, of each image.
        length: `L`, longest caption in tokens.
        special: The ids that are no words.
        device: Where the tokens are.

    Attributes:
        tokens: int64 `[B, K, L]`.
        logprobs: `[B, K, L]` nats.
        done: bool `[B, K]`: whether a caption has ended.
    """

    def __init__(
        self, images: int, captions: int, *, length: int, special: SpecialTokens, device: torch.device
    ) -> None:
        self.tokens = torch.full((images, captions, length), special.pad, device=device)
        self.logprobs = torch.zeros((images, captions, length), device=device)
        self.done = torch.zeros((images, captions), dtype=torch.bool, device=device)
        self._special = special

    def add(self, at: int, tokens: Tensor, logprobs: Tensor) -> bool:
        """Write the tokens `[B, K]` at a position of the captions that go on. Returns whether all have ended."""
        self.tokens[:, :, at] = tokens.masked_fill(self.done, self._special.pad)
        self.logprobs[:, :, at] = logprobs.masked_fill(self.done, 0.0)
        self.done |= tokens == self._special.end
        return bool(self.done.all())

    def hypotheses(self, norm: LengthNorm) -> Hypotheses:
        """The captions in the order in which they were written."""
        length = (self.tokens != self._special.pad).sum(dim=-1)
        return Hypotheses(self.tokens, self.logprobs.sum(dim=-1) / norm.divisor(length), self.logprobs)
