"""Token buffers of captions that grow by one token a step until EOS.

Axis letters: `B` images, `K` captions of each image, `L` tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.decoding.hypotheses import Hypotheses, SpecialTokens
from captioner.decoding.length import LengthNorm


class PartialCaptions:
    """Tokens and log-probabilities of the captions so far; a caption that has ended is only padded.

    Args:
        images: `B`.
        captions: `K`, of each image.
        length: `L`, longest caption in tokens.
        special: The special token ids.
        device: Device of the buffers.

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

    def append(self, position: int, tokens: Tensor, logprobs: Tensor) -> bool:
        """Store the tokens `[B, K]` of unfinished captions at `position`; return whether all captions have ended."""
        self.tokens[:, :, position] = tokens.masked_fill(self.done, self._special.pad)
        self.logprobs[:, :, position] = logprobs.masked_fill(self.done, 0.0)
        self.done |= tokens == self._special.end
        return bool(self.done.all())

    def hypotheses(self, norm: LengthNorm) -> Hypotheses:
        """The captions with their scores, not sorted."""
        length = (self.tokens != self._special.pad).sum(dim=-1)
        return Hypotheses(self.tokens, self.logprobs.sum(dim=-1) / norm.divisor(length), self.logprobs)
