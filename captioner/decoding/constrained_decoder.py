"""Cached decoding steps under constraints, common to all searches.

PAD, BOS and UNK are never allowed, and EOS alone is allowed in the last place, so every caption ends.

Axis letters: `B` images, `K` captions per image, `L` tokens so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.decoding.constraints import (
    NEG_INF,
    Constraint,
    Prefix,
    check_constraints,
    describe_constraints,
)
from captioner.decoding.hypotheses import SpecialTokens, StepCache, StepDecoder
from captioner.errors import CaptionerError, UsageError


class ConstrainedDecoder:
    """One cached decode of all images, with forbidden tokens masked.

    Args:
        decoder: The decoder.
        memory: `[B, N, D]`.
        special: The special token ids.
        num_beams: `K`, captions of each image at a time.
        max_length: Longest caption in tokens, EOS included.
        constraints: Constraints on the next token.

    Attributes:
        length: Longest caption in tokens: `max_length`, or the decoder's own if that is less.
        cache: The decoder's cache.

    Raises:
        UsageError: If no caption of `length` tokens can meet a constraint.
    """

    def __init__(
        self,
        decoder: StepDecoder,
        memory: Tensor,
        special: SpecialTokens,
        *,
        num_beams: int,
        max_length: int,
        constraints: Sequence[Constraint],
    ) -> None:
        self.length = min(max_length, decoder.max_length)
        check_constraints(constraints, self.length)
        self.cache: StepCache = decoder.init_cache(memory, num_beams=num_beams, max_length=self.length)
        self._decoder = decoder
        self._special = special
        self._constraints = constraints
        self._num_steps = 0
        self._never_allowed = torch.tensor(
            sorted({special.pad, special.begin, *special.banned} - {special.end}), device=memory.device
        )

    def __call__(self, tokens: Tensor, prefix: Tensor) -> Tensor:
        """Log-probabilities `[B, K, V]` of the token after `prefix` `[B, K, L]`, whose last tokens are `tokens`."""
        return self.logprobs(self.logits(tokens), prefix)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits `[B, K, V]` after the tokens `[B, K]`."""
        logits, self.cache = self._decoder.step(tokens, self.cache)
        self._num_steps += 1
        return logits

    def logprobs(self, logits: Tensor, prefix: Tensor) -> Tensor:
        """The model's log-probabilities `[B, K, V]` (nats), -inf for tokens not allowed after `prefix` `[B, K, L]`.

        Raises:
            CaptionerError: If the decoder returned NaN, naming the step.
            UsageError: If the constraints leave no first word.
        """
        logprobs = logits.float().log_softmax(dim=-1)
        # The normaliser includes every logit: one that is NaN or +inf makes its whole row NaN.
        self.check_nan(logprobs[..., self._special.end])
        logprobs[..., self._never_allowed] = NEG_INF
        if self._constraints:
            self._apply_constraints(logprobs, prefix)
        if prefix.shape[-1] + 1 == self.length:
            end = logprobs[..., self._special.end].clone()
            logprobs.fill_(NEG_INF)
            logprobs[..., self._special.end] = end
        return logprobs

    def check_nan(self, values: Tensor) -> None:
        """Raise if the last step's values contain NaN.

        Raises:
            CaptionerError: Naming the step.
        """
        if torch.isnan(values).any():
            raise CaptionerError(
                f"the decoder returned NaN at step {self._num_steps}; the model's weights are damaged"
            )

    def _apply_constraints(self, logprobs: Tensor, prefix: Tensor) -> None:
        position = prefix.shape[-1]
        incomplete = [
            constraint
            for constraint in self._constraints
            if isinstance(constraint, Prefix) and position < len(constraint.tokens)
        ]
        for constraint in incomplete or self._constraints:
            constraint.mask(logprobs, prefix, remaining=self.length - position, special=self._special)
        if position == 0 and self.length > 1:
            words = logprobs.clone()
            words[..., self._special.end] = NEG_INF
            if bool((words.amax(dim=-1) == NEG_INF).any()):
                raise UsageError(
                    f"{describe_constraints(self._constraints)} leaves none of the {logprobs.shape[-1]} tokens of the "
                    "vocabulary as first word; ban fewer words"
                )

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        self.cache.select(rows)

    def check_dead_ends(self, alive: Tensor) -> None:
        """Raise if the constraints leave an image without an allowed continuation.

        Args:
            alive: bool `[B]`: whether the image has one.

        Raises:
            UsageError: Naming the step and the constraints.
        """
        if self._constraints and not bool(alive.all()):
            raise UsageError(
                f"no token is allowed at step {self._num_steps}: {describe_constraints(self._constraints)} leave no "
                f"caption of up to {self.length} tokens; relax one of them, raise max_length or use a larger beam"
            )
