"""What may not come next? Small rules over a step's log-probabilities; a search applies any number of them.

A rule sets to -inf what it forbids and leaves all else as it is: nothing is renormalised, so the log-probabilities
of what remains stay the model's own. Every rule reads only the tokens so far; there is no state to reorder.

Source: Paulus et al. 2018, "A deep reinforced model for abstractive summarization" (no repeated n-grams).

Axis letters: `B` images, `K` captions per image, `L` tokens so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from captioner.decoding.hypotheses import SpecialTokens, check_count
from captioner.errors import UsageError

NEG_INF = float("-inf")


class Constraint(Protocol):
    """A rule about the next token.

    Attributes:
        shortest: The shortest caption that can obey it, in tokens, EOS included.
    """

    shortest: int

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Set to -inf, in place, what may not come next.

        Args:
            logprobs: float `[B, K, V]`, nats.
            prefix: int64 `[B, K, L]`, the tokens so far, without BOS.
            left: How many tokens still fit, this one and EOS included. At 1 only EOS fits, whatever rules leave.
            special: Which token is EOS.
        """
        ...

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and messages."""
        ...


def spec_of(constraints: Sequence[Constraint]) -> dict[str, Any]:
    """The settings of all `constraints`, for signatures and reports."""
    return {name: value for rule in constraints for name, value in rule.spec().items()}


class Prefix:
    """The caption begins with these tokens. While it does, no other rule speaks.

    Args:
        tokens: At least one token.
        continuing: Tokens that continue a word, for tokenizers that cut words into pieces: none of them follows, so
            that "a cat" does not become "a catfish".
    """

    def __init__(self, tokens: Sequence[int], *, continuing: Collection[int] = ()) -> None:
        self.tokens = tuple(tokens)
        self.shortest = len(self.tokens) + 1
        self._continuing = sorted(continuing)

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Leave only the prefix's own token; after the last, forbid what would continue its word."""
        at = prefix.shape[-1]
        if at < len(self.tokens):
            kept = logprobs[..., self.tokens[at]].clone()
            logprobs.fill_(NEG_INF)
            logprobs[..., self.tokens[at]] = kept
        elif at == len(self.tokens) and self._continuing:
            logprobs[..., torch.tensor(self._continuing, device=logprobs.device)] = NEG_INF

    def spec(self) -> dict[str, Any]:
        """How long the prefix is."""
        return {"prefix": f"{len(self.tokens)} tokens"}


class MinLength:
    """EOS may not come before this many tokens, EOS included.

    Raises:
        UsageError: If it is no whole number from 1.
    """

    def __init__(self, min_length: int) -> None:
        check_count("min_length", min_length, unit=" token")
        self.shortest = min_length

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Forbid EOS while the caption is too short."""
        if prefix.shape[-1] + 1 < self.shortest:
            logprobs[..., special.end] = NEG_INF

    def spec(self) -> dict[str, Any]:
        """The least length."""
        return {"min_length": self.shortest}


class NoRepeatedNgrams:
    """No `size` tokens in a row occur twice; size 1 is no token twice.

    Raises:
        UsageError: If the size is no whole number from 1.
    """

    shortest = 1

    def __init__(self, size: int) -> None:
        check_count("no_repeat_ngram", size)
        self.size = size

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Forbid each token that once followed the last `size - 1` tokens."""
        L, n = prefix.shape[-1], self.size
        if n > L:
            return
        seen = prefix.unfold(-1, n, 1)  # [B, K, L] -> [B, K, L-n+1, n]
        same = (seen[..., :-1] == prefix[..., None, L - n + 1 :]).all(dim=-1)
        followed = torch.zeros_like(logprobs)
        followed.scatter_add_(-1, seen[..., -1], same.to(logprobs.dtype))
        logprobs.masked_fill_(followed > 0, NEG_INF)

    def spec(self) -> dict[str, Any]:
        """The size."""
        return {"no_repeat_ngram": self.size}


class Banned:
    """None of these sequences of tokens occurs.

    Args:
        sequences: Each of at least one token.
    """

    shortest = 1

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._single = sorted({sequence[0] for sequence in sequences if len(sequence) == 1})
        self._longer = [tuple(sequence) for sequence in sequences if len(sequence) > 1]

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Forbid each token that would complete a sequence."""
        _forbid_completing(logprobs, prefix, self._single, self._longer)

    def spec(self) -> dict[str, Any]:
        """How many there are."""
        return {"banned": len(self._single) + len(self._longer)}


class NoTrailing:
    """No caption ends with one of these sequences of tokens, such as "a" or "with". An empty caption may end.

    Args:
        sequences: Each of at least one token.
    """

    shortest = 1

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._single = sorted({sequence[0] for sequence in sequences if len(sequence) == 1})
        self._longer = [tuple(sequence) for sequence in sequences if len(sequence) > 1]

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Forbid EOS after them; and in the last place but EOS, forbid themselves."""
        if prefix.shape[-1]:
            trailing = _ends_with_any(prefix, self._single, self._longer)
            logprobs[..., special.end].masked_fill_(trailing, NEG_INF)
        if left == 2:
            _forbid_completing(logprobs, prefix, self._single, self._longer)

    def spec(self) -> dict[str, Any]:
        """How many there are."""
        return {"no_trailing": len(self._single) + len(self._longer)}


def ends_with(prefix: Tensor, sequence: Sequence[int]) -> Tensor:
    """Whether the tokens `[B, K, L]` so far end with the sequence: bool `[B, K]`."""
    n = len(sequence)
    if n > prefix.shape[-1]:
        return torch.zeros(prefix.shape[:-1], dtype=torch.bool, device=prefix.device)
    last = prefix[..., prefix.shape[-1] - n :]
    return (last == torch.tensor(sequence, dtype=torch.long, device=prefix.device)).all(dim=-1)


def _ends_with_any(prefix: Tensor, single: Sequence[int], longer: Sequence[Sequence[int]]) -> Tensor:
    """Whether the tokens `[B, K, L]` so far, at least one, end with one of the sequences: bool `[B, K]`."""
    ending = torch.isin(prefix[..., -1], torch.tensor(single, dtype=torch.long, device=prefix.device))
    for sequence in longer:
        ending |= ends_with(prefix, sequence)
    return ending


def _forbid_completing(
    logprobs: Tensor, prefix: Tensor, single: Sequence[int], longer: Sequence[Sequence[int]]
) -> None:
    if single:
        logprobs[..., torch.tensor(single, device=logprobs.device)] = NEG_INF
    for sequence in longer:
        logprobs[..., sequence[-1]].masked_fill_(ends_with(prefix, sequence[:-1]), NEG_INF)


def check_constraints(constraints: Sequence[Constraint], max_length: int) -> None:
    """Refuse rules that no caption of `max_length` tokens can obey.

    Raises:
        UsageError: Naming the rule and the length it needs.
    """
    for constraint in constraints:
        if constraint.shortest > max_length:
            raise UsageError(
                f"{describe_constraints([constraint])} needs captions of {constraint.shortest} tokens (their end "
                f"counts as one), and the longest is {max_length}; raise max_length, as far as the model goes, or "
                "ask for less"
            )


def describe_constraints(constraints: Sequence[Constraint]) -> str:
    """The rules as `name=value`, for messages."""
    return ", ".join(f"{key}={value}" for rule in constraints for key, value in rule.spec().items())
