"""Which captions contain given words? Beams in banks, one for each count of required tokens that are in place.

Sources: Hokamp & Liu 2017 (grid beam search: a beam for each bank); Post & Vilar 2018 (every caption is also offered
the tokens it still lacks).

Axis letters: `B` images, `K` captions of each image, `L` tokens so far, `R` required sequences, `V` vocabulary,
`M` continuations weighed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF, ends_with
from captioner.decoding.hypotheses import SpecialTokens


@dataclass(frozen=True, slots=True, eq=False)
class _Progress:
    """How far captions are.

    Attributes:
        bank: int64 `[B, K]`: required tokens in place, those of the sequence that is under way included.
        complete: bool `[B, K]`: whether every sequence is there.
        next: int64 `[B, K, R]`: the token that takes each sequence further, PAD where it would not raise the bank.
    """

    bank: Tensor
    complete: Tensor
    next: Tensor


class Required:
    """Every caption contains each of these sequences of tokens, in any order. Is also a `Constraint`.

    Args:
        sequences: Each of at least one token.
        continuing: Tokens that continue a word, for tokenizers that cut words into pieces: a sequence counts only where
            none of them follows, so that "cat" is not found in "catfish".
    """

    def __init__(self, sequences: Sequence[Sequence[int]], *, continuing: Collection[int] = ()) -> None:
        self.sequences = tuple(dict.fromkeys(tuple(sequence) for sequence in sequences))
        self.total = sum(len(sequence) for sequence in self.sequences)
        self.shortest = self.total + 1
        self._continuing = sorted(continuing)

    @property
    def num_banks(self) -> int:
        """One for each count of required tokens, none included."""
        return self.total + 1

    def spec(self) -> dict[str, Any]:
        """How many sequences there are."""
        return {"required": len(self.sequences)}

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """Forbid EOS while something lacks; and all but what lacks, when there is room for no more."""
        progress = self._progress(prefix, special.pad)
        logprobs[..., special.end].masked_fill_(~progress.complete, NEG_INF)
        urgent = ~progress.complete & (self.total - progress.bank >= left - 1)
        if bool(urgent.any()):
            forced = torch.full_like(logprobs, NEG_INF)
            forced.scatter_(-1, progress.next, logprobs.gather(-1, progress.next))
            logprobs.copy_(torch.where(urgent[..., None], forced, logprobs))

    def choose(
        self, total: Tensor, prefix: Tensor, *, beam_size: int, special: SpecialTokens
    ) -> tuple[Tensor, Tensor]:
        """The `beam_size` best continuations of each bank.

        Args:
            total: `[B, S, V]` nats: log P of every continuation of the `S` live captions.
            prefix: int64 `[B, S, L]`: those captions.
            beam_size: Of each bank.
            special: The ids that are no words.

        Returns:
            log P `[B, S]`, -inf where a bank has less, and which continuations `[B, S]`, as row * V + token.
        """
        S, V = total.shape[1:]
        # Only required tokens lead to a bank of their own: all of them, and enough of the others to fill one bank.
        wanted = torch.tensor(sorted({token for one in self.sequences for token in one}), device=total.device)
        score, token = total.topk(min(beam_size + len(wanted), V), dim=-1)  # [B, S, M]
        score = torch.cat([score, total[:, :, wanted]], dim=-1)
        token = torch.cat([token, wanted.expand(*token.shape[:2], -1)], dim=-1)
        # The same continuation found twice counts once: [B, S, M, M]
        earlier = (token[..., :, None] == token[..., None, :]).tril(diagonal=-1).any(dim=-1)
        score = score.masked_fill(earlier, NEG_INF).flatten(1)  # [B, S*M]
        M = token.shape[-1]
        row = torch.arange(S, device=total.device).repeat_interleave(M).expand_as(score)
        flat = row * V + token.flatten(1)

        order = score.sort(dim=1, descending=True, stable=True).indices
        score, flat = score.gather(1, order), flat.gather(1, order)
        row, last = flat // V, flat % V
        grown = torch.cat(
            [prefix.gather(1, row[:, :, None].expand(-1, -1, prefix.shape[2])), last[:, :, None]], 2
        )
        bank = self._progress(grown, special.pad).bank
        in_bank = bank[:, :, None] == torch.arange(self.num_banks, device=bank.device)  # [B, S*M, banks]
        rank = in_bank.cumsum(dim=1).gather(2, bank[:, :, None])[:, :, 0]
        score = score.masked_fill(rank > beam_size, NEG_INF)
        score, chosen = score.topk(S, dim=1)
        return score, flat.gather(1, chosen)

    def _progress(self, prefix: Tensor, pad: int) -> _Progress:
        there, part, following = [], [], []
        for sequence in self.sequences:
            found = self._contains(prefix, sequence)
            under_way = torch.zeros_like(found, dtype=torch.long)
            for count in range(1, len(sequence)):
                under_way = torch.where(ends_with(prefix, sequence[:count]), count, under_way)
            under_way = under_way.masked_fill(found, 0)
            there.append(found)
            part.append(under_way)
            following.append(torch.tensor(sequence, device=prefix.device)[under_way])
        complete, parts = torch.stack(there, dim=-1), torch.stack(part, dim=-1)  # [B, K, R]
        lengths = torch.tensor([len(sequence) for sequence in self.sequences], device=prefix.device)
        furthest = parts.amax(dim=-1)
        further = torch.stack(following, dim=-1).masked_fill(complete | (parts < furthest[..., None]), pad)
        return _Progress((complete * lengths).sum(dim=-1) + furthest, complete.all(dim=-1), further)

    def _contains(self, prefix: Tensor, sequence: tuple[int, ...]) -> Tensor:
        L, n = prefix.shape[-1], len(sequence)
        if n > L:
            return torch.zeros(prefix.shape[:-1], dtype=torch.bool, device=prefix.device)
        found = (prefix.unfold(-1, n, 1) == torch.tensor(sequence, device=prefix.device)).all(dim=-1)
        if self._continuing:
            cut = torch.isin(prefix[..., n:], torch.tensor(self._continuing, device=prefix.device))
            found[..., : L - n] &= ~cut
        return found.any(dim=-1)
