"""State of a beam search: live captions, and a pool of finished ones that no longer compete with them.

Axis letters: `B` images, `S` live captions of each image, `K` finished ones that are kept, `V` vocabulary, `T` longest
caption in tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, gather_rows
from captioner.decoding.length import LengthNorm


class BeamState:
    """The state of one beam for each image; a search owns it and selects the continuations.

    Args:
        images: `B`.
        live: `S`.
        keep: `K`.
        length: `T`.
        special: The special token ids.
        norm: Length normalisation of finished captions.
        device: Device of the tensors.

    Attributes:
        score: `[B, S]` nats: log P of the live captions so far; -inf for unused places.
        tokens: int64 `[B, S, T]`: the live captions so far.
        logprobs: `[B, S, T]` nats: their tokens' log-probabilities.
        pool: The best finished captions, `[B, K]`.
        pad: The id of padding.
    """

    def __init__(
        self,
        images: int,
        live: int,
        *,
        keep: int,
        length: int,
        special: SpecialTokens,
        norm: LengthNorm,
        device: torch.device,
    ) -> None:
        # Only the first place is in use at the start, or all beams would be equal.
        self.score = torch.full((images, live), NEG_INF, device=device)
        self.score[:, 0] = 0.0
        self.tokens = torch.full((images, live, length), special.pad, device=device)
        self.logprobs = torch.zeros((images, live, length), device=device)
        self.pool = Hypotheses(
            self.tokens.new_full((images, keep, length), special.pad),
            self.score.new_full((images, keep), NEG_INF),
            self.score.new_zeros((images, keep, length)),
        )
        self.pad = special.pad
        self._end = special.end
        self._norm = norm

    def finish(self, position: int, logprobs: Tensor) -> None:
        """Merge every live caption, ended by EOS at `position`, into the pool of the best.

        Args:
            position: Number of tokens before EOS.
            logprobs: `[B, S, V]`, of the step.
        """
        ended = self.tokens.clone()
        ended[:, :, position] = self._end
        ended_logprobs = self.logprobs.clone()
        ended_logprobs[:, :, position] = logprobs[:, :, self._end]
        scores = (self.score + logprobs[:, :, self._end]) / self._norm.divisor(position + 1)
        self.pool = merge_best(
            self.pool, Hypotheses(ended, scores, ended_logprobs), self.pool.scores.shape[1]
        )

    def is_done(self) -> bool:
        """Whether no live caption can still enter any pool.

        A live caption's log-probability, divided for the longest length, is an upper bound of its final score.
        """
        bound = self.score.amax(dim=1) / self._norm.divisor(self.tokens.shape[2])
        return bool((self.pool.scores[:, -1] >= bound).all())

    def extend(self, position: int, flat: Tensor, logprobs: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the live captions by the selected continuations.

        Args:
            position: The position that is filled.
            flat: int64 `[B, S]`: the continuations, as row * V + token.
            logprobs: `[B, S, V]`, of the step.
            score: `[B, S]` nats: log P of the continuations.

        Returns:
            The rows that are continued `[B, S]` and the new tokens `[B, S]`.
        """
        V = logprobs.shape[2]
        rows, tokens = flat // V, flat % V
        self.tokens = gather_rows(self.tokens, rows)
        self.tokens[:, :, position] = tokens
        self.logprobs = gather_rows(self.logprobs, rows)
        self.logprobs[:, :, position] = logprobs.flatten(1).gather(1, flat)
        self.score = score
        return rows, tokens


def merge_best(a: Hypotheses, b: Hypotheses, keep: int) -> Hypotheses:
    """The `keep` best of both, best first; on a tie those of `a` come first."""
    merged = Hypotheses(
        torch.cat([a.tokens, b.tokens], dim=1),
        torch.cat([a.scores, b.scores], dim=1),
        torch.cat([a.token_logprobs, b.token_logprobs], dim=1),
    )
    return merged.select(merged.scores.sort(dim=1, descending=True, stable=True).indices[:, :keep])
