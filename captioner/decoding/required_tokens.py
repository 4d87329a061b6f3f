"""Beam search constraint of required tokens: beams in banks, one for each count of required tokens in place.

Sources: Hokamp & Liu 2017 (grid beam search: a beam for each bank); Post & Vilar 2018 (the required tokens that a
caption lacks are always among its continuations).

Axis letters: `B` images, `K` captions of each image, `L` tokens so far, `R` required sequences, `V` vocabulary,
`M` continuations compared for each caption.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF, ends_with
from captioner.decoding.hypotheses import SpecialTokens, gather_rows


@dataclass(frozen=True, slots=True, eq=False)
class _Progress:
    """Progress of captions towards all required sequences.

    Attributes:
        bank: int64 `[B, K]`: count of required tokens in place, those of the sequence in progress included.
        complete: bool `[B, K]`: whether every sequence is present.
        next: int64 `[B, K, R]`: the next token of each sequence, PAD where it would not raise the bank.
    """

    bank: Tensor
    complete: Tensor
    next: Tensor


class RequiredTokens:
    """Every caption contains each of these token sequences, in any order. Also implements `Constraint`.

    Args:
        sequences: Each of at least one token.
        continuing: Tokens that continue a word, for subword tokenizers: a sequence counts only where none of them
            follows, so that "cat" does not match in "catfish".
    """

    def __init__(self, sequences: Sequence[Sequence[int]], *, continuing: Collection[int] = ()) -> None:
        self.sequences = tuple(dict.fromkeys(tuple(sequence) for sequence in sequences))
        self.num_tokens = sum(len(sequence) for sequence in self.sequences)
        self.shortest = self.num_tokens + 1
        self._continuing = sorted(continuing)

    @property
    def num_banks(self) -> int:
        """Number of banks: one for each count of required tokens, 0 included."""
        return self.num_tokens + 1

    def spec(self) -> dict[str, Any]:
        """The number of sequences."""
        return {"required": len(self.sequences)}

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """Forbid EOS while a sequence is missing, and all but missing tokens when only they still fit."""
        progress = self._progress(prefix, special.pad)
        logprobs[..., special.end].masked_fill_(~progress.complete, NEG_INF)
        urgent = ~progress.complete & (self.num_tokens - progress.bank >= remaining - 1)
        if bool(urgent.any()):
            forced = torch.full_like(logprobs, NEG_INF)
            forced.scatter_(-1, progress.next, logprobs.gather(-1, progress.next))
            logprobs.copy_(torch.where(urgent[..., None], forced, logprobs))

    def best_per_bank(
        self, total: Tensor, prefix: Tensor, *, beam_size: int, special: SpecialTokens
    ) -> tuple[Tensor, Tensor]:
        """The `beam_size` best continuations of each bank.

        Args:
            total: `[B, S, V]` nats: log P of every continuation of the `S` live captions.
            prefix: int64 `[B, S, L]`: the live captions.
            beam_size: Beams of each bank.
            special: The special token ids.

        Returns:
            log P `[B, S]`, -inf where a bank has fewer, and the continuations `[B, S]`, as row * V + token.
        """
        S, V = total.shape[1:]
        # Only required tokens change the bank: compare all of them, and enough of the others to fill one bank.
        required = torch.tensor(
            sorted({token for sequence in self.sequences for token in sequence}), device=total.device
        )
        score, token = total.topk(min(beam_size + len(required), V), dim=-1)  # [B, S, M]
        score = torch.cat([score, total[:, :, required]], dim=-1)
        token = torch.cat([token, required.expand(*token.shape[:2], -1)], dim=-1)
        # Duplicates of a continuation count once: [B, S, M, M]
        duplicate = (token[..., :, None] == token[..., None, :]).tril(diagonal=-1).any(dim=-1)
        score = score.masked_fill(duplicate, NEG_INF).flatten(1)  # [B, S*M]
        M = token.shape[-1]
        row = torch.arange(S, device=total.device).repeat_interleave(M).expand_as(score)
        flat = row * V + token.flatten(1)

        order = score.sort(dim=1, descending=True, stable=True).indices
        score, flat = score.gather(1, order), flat.gather(1, order)
        row, last = flat // V, flat % V
        extended = torch.cat([gather_rows(prefix, row), last[:, :, None]], 2)
        bank = self._progress(extended, special.pad).bank
        in_bank = bank[:, :, None] == torch.arange(self.num_banks, device=bank.device)  # [B, S*M, banks]
        rank = in_bank.cumsum(dim=1).gather(2, bank[:, :, None])[:, :, 0]
        score = score.masked_fill(rank > beam_size, NEG_INF)
        score, selected = score.topk(S, dim=1)
        return score, flat.gather(1, selected)

    def _progress(self, prefix: Tensor, pad: int) -> _Progress:
        all_present, all_matched, all_next = [], [], []
        for sequence in self.sequences:
            present = self._contains(prefix, sequence)
            matched = torch.zeros_like(present, dtype=torch.long)  # tokens of a sequence in progress
            for count in range(1, len(sequence)):
                matched = torch.where(ends_with(prefix, sequence[:count]), count, matched)
            matched = matched.masked_fill(present, 0)
            all_present.append(present)
            all_matched.append(matched)
            all_next.append(torch.tensor(sequence, device=prefix.device)[matched])
        complete, matched = torch.stack(all_present, dim=-1), torch.stack(all_matched, dim=-1)  # [B, K, R]
        lengths = torch.tensor([len(sequence) for sequence in self.sequences], device=prefix.device)
        most = matched.amax(dim=-1)
        following = torch.stack(all_next, dim=-1).masked_fill(complete | (matched < most[..., None]), pad)
        return _Progress((complete * lengths).sum(dim=-1) + most, complete.all(dim=-1), following)

    def _contains(self, prefix: Tensor, sequence: tuple[int, ...]) -> Tensor:
        """Whether the tokens `[B, K, L]` contain the sequence as whole words: bool `[B, K]`."""
        L, n = prefix.shape[-1], len(sequence)
        if n > L:
            return torch.zeros(prefix.shape[:-1], dtype=torch.bool, device=prefix.device)
        match = (prefix.unfold(-1, n, 1) == torch.tensor(sequence, device=prefix.device)).all(dim=-1)
        if self._continuing:
            continued = torch.isin(prefix[..., n:], torch.tensor(self._continuing, device=prefix.device))
            match[..., : L - n] &= ~continued
        return match.any(dim=-1)
