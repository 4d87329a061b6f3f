"""Constraints on captions, as masks of a step's log-probabilities; a search applies any number of them.

A constraint sets forbidden tokens to -inf and leaves all others unchanged: nothing is renormalised, so the remaining
log-probabilities stay the model's own. Every constraint depends on the tokens so far alone; there is no state that a
search would have to reorder.

Source: Paulus et al. 2018, "A deep reinforced model for abstractive summarization" (no repeated n-grams).

Axis letters: `B` images, `K` captions per image, `L` tokens so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from captioner.decoding.hypotheses import SpecialTokens
from captioner.decoding.setting_checks import check_count
from captioner.errors import UsageError

NEG_INF = float("-inf")


class Constraint(Protocol):
    """A constraint on the next token.

    Attributes:
        shortest: Length of the shortest caption that can meet it, in tokens, EOS included.
    """

    shortest: int

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Set the log-probabilities of forbidden tokens to -inf, in place.

        Args:
            logprobs: float `[B, K, V]`, nats.
            prefix: int64 `[B, K, L]`, the tokens so far, without BOS.
            remaining: Number of tokens that still fit, this one and EOS included. At 1 only EOS is allowed, whatever
                the constraints leave.
            special: The special token ids.
        """
        ...

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and messages."""
        ...


class Prefix:
    """A fixed beginning of every caption. Until it is complete, no other constraint applies.

    Args:
        tokens: At least one token.
        continuing: Tokens that continue a word, for subword tokenizers: none of them may follow the prefix, so that
            "a cat" does not become "a catfish".
    """

    def __init__(self, tokens: Sequence[int], *, continuing: Collection[int] = ()) -> None:
        self.tokens = tuple(tokens)
        self.shortest = len(self.tokens) + 1
        self._continuing = sorted(continuing)

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Leave only the prefix's next token; after its last one, forbid tokens that continue the word."""
        position = prefix.shape[-1]
        if position < len(self.tokens):
            forced = logprobs[..., self.tokens[position]].clone()
            logprobs.fill_(NEG_INF)
            logprobs[..., self.tokens[position]] = forced
        elif position == len(self.tokens) and self._continuing:
            logprobs[..., torch.tensor(self._continuing, device=logprobs.device)] = NEG_INF

    def spec(self) -> dict[str, Any]:
        """The prefix's length."""
        return {"prefix": f"{len(self.tokens)} tokens"}


class MinLength:
    """A minimum length of every caption in tokens, EOS included.

    Raises:
        UsageError: If it is not an integer of at least 1.
    """

    def __init__(self, min_length: int) -> None:
        check_count("min_length", min_length, unit=" token")
        self.shortest = min_length

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Forbid EOS while the caption is too short."""
        if prefix.shape[-1] + 1 < self.shortest:
            logprobs[..., special.end] = NEG_INF

    def spec(self) -> dict[str, Any]:
        """The minimum length."""
        return {"min_length": self.shortest}


class NoRepeatedNgrams:
    """No n-gram of `size` tokens occurs twice; size 1 allows each token once.

    Raises:
        UsageError: If the size is not an integer of at least 1.
    """

    shortest = 1

    def __init__(self, size: int) -> None:
        check_count("no_repeat_ngram", size)
        self.size = size

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Forbid each token that has already followed the last `size - 1` tokens."""
        L, n = prefix.shape[-1], self.size
        if n > L:
            return
        ngrams = prefix.unfold(-1, n, 1)  # [B, K, L] -> [B, K, L-n+1, n]
        same = (ngrams[..., :-1] == prefix[..., None, L - n + 1 :]).all(dim=-1)
        counts = torch.zeros_like(logprobs)
        counts.scatter_add_(-1, ngrams[..., -1], same.to(logprobs.dtype))
        logprobs.masked_fill_(counts > 0, NEG_INF)

    def spec(self) -> dict[str, Any]:
        """The size."""
        return {"no_repeat_ngram": self.size}


class BannedTokens:
    """No caption contains one of these token sequences.

    Args:
        sequences: Each of at least one token.
    """

    shortest = 1

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._sequences = _TokenSequences(sequences)

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Forbid each token that would complete a sequence."""
        self._sequences.mask_completion(logprobs, prefix)

    def spec(self) -> dict[str, Any]:
        """The number of sequences."""
        return {"banned": len(self._sequences)}


class NoTrailing:
    """No caption ends with one of these token sequences, such as "a" or "with". An empty caption is allowed.

    Args:
        sequences: Each of at least one token.
    """

    shortest = 1

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._sequences = _TokenSequences(sequences)

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Forbid EOS after a sequence; in the last place before EOS, forbid the completion of one."""
        if prefix.shape[-1]:
            logprobs[..., special.end].masked_fill_(self._sequences.end(prefix), NEG_INF)
        if remaining == 2:
            self._sequences.mask_completion(logprobs, prefix)

    def spec(self) -> dict[str, Any]:
        """The number of sequences."""
        return {"no_trailing": len(self._sequences)}


class _TokenSequences:
    """Token sequences, with those of one token apart: they are handled in one operation."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._single = sorted({sequence[0] for sequence in sequences if len(sequence) == 1})
        self._longer = [tuple(sequence) for sequence in sequences if len(sequence) > 1]

    def __len__(self) -> int:
        return len(self._single) + len(self._longer)

    def end(self, prefix: Tensor) -> Tensor:
        """Whether the tokens `[B, K, L]` so far, at least one, end with one of the sequences: bool `[B, K]`."""
        single = torch.tensor(self._single, dtype=torch.long, device=prefix.device)
        ending = torch.isin(prefix[..., -1], single)
        for sequence in self._longer:
            ending |= ends_with(prefix, sequence)
        return ending

    def mask_completion(self, logprobs: Tensor, prefix: Tensor) -> None:
        """Set to -inf each token of `logprobs` `[B, K, V]` that would complete a sequence."""
        if self._single:
            logprobs[..., torch.tensor(self._single, device=logprobs.device)] = NEG_INF
        for sequence in self._longer:
            logprobs[..., sequence[-1]].masked_fill_(ends_with(prefix, sequence[:-1]), NEG_INF)


def ends_with(prefix: Tensor, sequence: Sequence[int]) -> Tensor:
    """Whether the tokens `[B, K, L]` so far end with the sequence: bool `[B, K]`."""
    n = len(sequence)
    if n > prefix.shape[-1]:
        return torch.zeros(prefix.shape[:-1], dtype=torch.bool, device=prefix.device)
    last = prefix[..., prefix.shape[-1] - n :]
    return (last == torch.tensor(sequence, dtype=torch.long, device=prefix.device)).all(dim=-1)


def check_constraints(constraints: Sequence[Constraint], max_length: int) -> None:
    """Refuse constraints that no caption of `max_length` tokens can meet.

    Raises:
        UsageError: Naming the constraint and the length it needs.
    """
    for constraint in constraints:
        if constraint.shortest > max_length:
            raise UsageError(
                f"{describe_constraints([constraint])} needs captions of {constraint.shortest} tokens, EOS included, "
                f"but the longest is {max_length}; raise max_length, up to the model's own, or relax the constraint"
            )


def constraints_spec(constraints: Sequence[Constraint]) -> dict[str, Any]:
    """The settings of all constraints, for signatures and reports."""
    return {name: value for constraint in constraints for name, value in constraint.spec().items()}


def describe_constraints(constraints: Sequence[Constraint]) -> str:
    """The constraints as `name=value`, for messages."""
    return ", ".join(
        f"{key}={value}" for constraint in constraints for key, value in constraint.spec().items()
    )
