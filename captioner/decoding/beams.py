"""What does a beam hold? Live captions, and a pool of finished ones that are frozen and never crowd out live ones.

Axis letters: `B` images, `S` live captions of each image, `K` finished ones that are kept, `V` vocabulary, `T` longest
caption in tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens
from captioner.decoding.length import LengthNorm


class Beams:
    """The state of one beam for each image; a search owns it and decides how it grows.

    Args:
        images: `B`.
        live: `S`.
        keep: `K`.
        length: `T`.
        special: The ids that are no words.
        norm: How finished captions compare.
        device: Where the scores are.

    Attributes:
        score: `[B, S]` nats: log P of the live captions so far; -inf for places that are not taken.
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
        # Only the first place is taken at the start, or all would be equal.
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

    def finish(self, at: int, logprobs: Tensor) -> None:
        """Let every live caption also end at position `at`: what is good enough joins the pool.

        Args:
            at: Tokens before EOS.
            logprobs: `[B, S, V]`, the step's.
        """
        ended = self.tokens.clone()
        ended[:, :, at] = self._end
        ended_logprobs = self.logprobs.clone()
        ended_logprobs[:, :, at] = logprobs[:, :, self._end]
        scores = (self.score + logprobs[:, :, self._end]) / self._norm.divisor(at + 1)
        self.pool = best(self.pool, Hypotheses(ended, scores, ended_logprobs), self.pool.scores.shape[1])

    def settled(self) -> bool:
        """Whether nothing live can still join any pool: its log-probability over the longest length is a bound."""
        hope = self.score.amax(dim=1) / self._norm.divisor(self.tokens.shape[2])
        return bool((self.pool.scores[:, -1] >= hope).all())

    def grow(self, at: int, flat: Tensor, logprobs: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the live captions by continuations of themselves.

        Args:
            at: The position that is filled.
            flat: int64 `[B, S]`: which continuation, as row * V + token.
            logprobs: `[B, S, V]`, the step's.
            score: `[B, S]` nats: their log P.

        Returns:
            The rows they continue `[B, S]` and their tokens `[B, S]`.
        """
        V = logprobs.shape[2]
        rows, tokens = flat // V, flat % V
        self.tokens = take(self.tokens, rows)
        self.tokens[:, :, at] = tokens
        self.logprobs = take(self.logprobs, rows)
        self.logprobs[:, :, at] = logprobs.flatten(1).gather(1, flat)
        self.score = score
        return rows, tokens


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Rows `[B, K']` of `[B, K, T]`: `[B, K', T]`."""
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2]))


def best(a: Hypotheses, b: Hypotheses, keep: int) -> Hypotheses:
    """The best of both, best first; on a tie the one found earlier stays."""
    scores = torch.cat([a.scores, b.scores], dim=1)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :keep]
    tokens = take(torch.cat([a.tokens, b.tokens], dim=1), order)
    logprobs = take(torch.cat([a.token_logprobs, b.token_logprobs], dim=1), order)
    return Hypotheses(tokens, scores.gather(1, order), logprobs)
