"""What may come next, and how likely is it? A decoder's cached steps under the rules that every search shares.

PAD, BOS and UNK are never allowed, EOS alone is allowed in the last place, so every caption ends.

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


class Steps:
    """One cached decode of all images.

    Args:
        decoder: What computes.
        memory: `[B, N, D]`.
        special: The ids that are no words.
        num_beams: `K`, captions of each image at a time.
        max_length: Longest caption in tokens, EOS included.
        constraints: Rules about the next token.

    Attributes:
        length: Longest caption in tokens: `max_length`, or the decoder's own if that is less.
        cache: The decoder's.

    Raises:
        UsageError: If no caption that the decoder can write obeys a constraint.
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
        self._steps = 0
        self._control = torch.tensor(
            sorted({special.pad, special.begin, *special.banned} - {special.end}), device=memory.device
        )

    def __call__(self, tokens: Tensor, prefix: Tensor) -> Tensor:
        """Log-probabilities `[B, K, V]` of what may follow `prefix` `[B, K, L]`, whose last tokens are `tokens`."""
        return self.logprobs(self.logits(tokens), prefix)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits `[B, K, V]` after the tokens `[B, K]`."""
        logits, self.cache = self._decoder.step(tokens, self.cache)
        self._steps += 1
        return logits

    def logprobs(self, logits: Tensor, prefix: Tensor) -> Tensor:
        """The model's log-probabilities `[B, K, V]` (nats), -inf for what is not allowed after `prefix` `[B, K, L]`.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If the constraints leave no word to begin with.
        """
        logprobs = logits.float().log_softmax(dim=-1)
        # The normaliser sees every logit: one that is NaN or +inf makes its whole row NaN.
        self.refuse_nan(logprobs[..., self._special.end])
        logprobs[..., self._control] = NEG_INF
        at = prefix.shape[-1]
        if self._constraints:
            self._constrain(logprobs, prefix)
        if at + 1 == self.length:
            only = logprobs[..., self._special.end].clone()
            logprobs.fill_(NEG_INF)
            logprobs[..., self._special.end] = only
        return logprobs

    def refuse_nan(self, values: Tensor) -> None:
        """Stop where the last step gave NaN.

        Raises:
            CaptionerError: Naming the step.
        """
        if torch.isnan(values).any():
            raise CaptionerError(
                f"the decoder gave NaN at step {self._steps}; the model's weights are damaged"
            )

    def _constrain(self, logprobs: Tensor, prefix: Tensor) -> None:
        at = prefix.shape[-1]
        given = [rule for rule in self._constraints if isinstance(rule, Prefix) and at < len(rule.tokens)]
        for rule in given or self._constraints:
            rule.forbid(logprobs, prefix, left=self.length - at, special=self._special)
        if at == 0 and self.length > 1:
            words = logprobs.clone()
            words[..., self._special.end] = NEG_INF
            if bool((words.amax(dim=-1) == NEG_INF).any()):
                raise UsageError(
                    f"{describe_constraints(self._constraints)} leaves none of the {logprobs.shape[-1]} tokens of the "
                    "vocabulary to begin a caption with; ban fewer words"
                )

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        self.cache.select(rows)

    def refuse_dead_ends(self, alive: Tensor) -> None:
        """Stop where an image has nothing left that may come.

        Args:
            alive: bool `[B]`: whether it has.

        Raises:
            UsageError: Naming the step and the constraints.
        """
        if self._constraints and not bool(alive.all()):
            raise UsageError(
                f"nothing may follow at step {self._steps}: {describe_constraints(self._constraints)} leave no caption "
                f"of up to {self.length} tokens; loosen one of them, raise max_length or take a larger beam"
            )
