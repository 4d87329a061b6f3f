"""What does a decoder remember between two tokens? A Transformer keys and values, an LSTM its state; nothing is hidden.

A step reads what is filled once, for self-attention: that is all of its cost that grows with the length. Beam search
also reorders what is filled at each step (`select`), which copies it unless every beam goes on from itself.

Axis letters: `B` images, `K` beams, `G` heads of keys and values, `T` room in tokens, `N` image tokens, `d` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.models.attention import KeyValue


@dataclass(slots=True, eq=False)
class DecoderCache:
    """The state of a cached decode, owned by the search and passed to every `step`.

    Attributes:
        image: One entry a layer: keys and values of the image `[B, G, N, d]`, shared by all beams, never copied.
        keys: `[layers, B*K, G, T, d]`, the first `length` positions filled.
        values: Like `keys`.
        length: Tokens seen so far.
        hidden: `[B, K, D]`, the state from which the last step's logits were made; None before the first.
    """

    image: tuple[KeyValue, ...]
    keys: Tensor
    values: Tensor
    length: int = 0
    hidden: Tensor | None = None

    @property
    def max_length(self) -> int:
        """The number of tokens the cache has room for."""
        return self.keys.shape[3]

    @property
    def layers(self) -> list[Filling]:
        """Each layer's own part, for the next step."""
        # By index: autograd does not let the parts of an unbound tensor be filled.
        return [Filling(self.keys[index], self.values[index], self.length) for index in range(len(self.keys))]

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`.

        Args:
            rows: int64 `[B, K']` with values in `[0, K)`; `K'` may differ from `K`.
        """
        flat, beams = _flat(rows, self.keys.shape[1]), self.keys.shape[1] // rows.shape[0]
        if rows.shape[1] == beams:  # in place, a layer at a time: there is never a second cache
            _move([layer[:, :, : self.length] for layer in (*self.keys, *self.values)], flat)
        else:
            self.keys = self.keys.index_select(1, flat)
            self.values = self.values.index_select(1, flat)
        if self.hidden is not None:
            self.hidden = self.hidden.flatten(0, 1).index_select(0, flat).view(*rows.shape, -1)


def _flat(rows: Tensor, total: int) -> Tensor:
    """The rows `[B, K']` of images as rows of a cache of `total` beams: int64 `[B*K']`."""
    images = rows.shape[0]
    return (torch.arange(images, device=rows.device)[:, None] * (total // images) + rows).flatten()


def _move(parts: Sequence[Tensor], flat: Tensor) -> None:
    """Let row i of each part become what row `flat[i]` was, in place; nothing is copied where all stay.

    To copy the rows that move alone is no faster: they lie apart.
    """
    if not torch.equal(flat, torch.arange(len(flat), device=flat.device)):
        for part in parts:
            part.copy_(part.index_select(0, flat))


@dataclass(slots=True, eq=False)
class Filling:
    """One layer's keys and values while one step computes; what is not filled is not read.

    Attributes:
        keys: `[B*K, G, T, d]`.
        values: Like `keys`.
        length: Tokens before the newest.
    """

    keys: Tensor
    values: Tensor
    length: int

    @property
    def allowed(self) -> None:
        """Which of the tokens that `append` returns may be read: all."""
        return None

    def append(self, new: KeyValue) -> KeyValue:
        """Store one token's keys and values `[B*K, G, 1, d]`; return all so far `[B*K, G, length+1, d]`."""
        end = self.length + 1
        self.keys[:, :, self.length : end] = new.keys
        self.values[:, :, self.length : end] = new.values
        return KeyValue(self.keys[:, :, :end], self.values[:, :, :end])


@dataclass(slots=True, eq=False)
class Slot:
    """One layer's keys and values while one step computes, of one shape at every step: what a compiler wants.

    Attributes:
        keys: `[B*K, G, T, d]`, all of the room, filled or not.
        values: Like `keys`.
        at: int64 `[1]`: where the newest token goes.
        allowed: bool `[T]`: which tokens may be read, the newest included.
    """

    keys: Tensor
    values: Tensor
    at: Tensor
    allowed: Tensor

    def append(self, new: KeyValue) -> KeyValue:
        """Store one token's keys and values `[B*K, G, 1, d]`; return all of the room."""
        self.keys.index_copy_(2, self.at, new.keys)
        self.values.index_copy_(2, self.at, new.values)
        return KeyValue(self.keys, self.values)


@dataclass(slots=True, eq=False)
class SlotCache:
    """The state of a cached decode whose tensors keep their shapes, for a compiled step; as `DecoderCache` otherwise.

    Attributes:
        image: One entry a layer: keys and values of the image `[B, G, N, d]`, shared by all beams, never copied.
        keys: One entry a layer: `[B*K, G, T, d]`.
        values: Like `keys`.
        length: Tokens seen so far.
        hidden: `[B, K, D]`, the state from which the last step's logits were made; None before the first.
    """

    image: tuple[KeyValue, ...]
    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0
    hidden: Tensor | None = None

    @property
    def max_length(self) -> int:
        """The number of tokens the cache has room for."""
        return self.keys[0].shape[2]

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`; in place while `K` stays, for a recorded step."""
        flat, beams = _flat(rows, self.keys[0].shape[0]), self.keys[0].shape[0] // rows.shape[0]
        if rows.shape[1] == beams:
            _move([kept[:, :, : self.length] for kept in (*self.keys, *self.values)], flat)
        else:
            self.keys = [kept.index_select(0, flat) for kept in self.keys]
            self.values = [kept.index_select(0, flat) for kept in self.values]
        if self.hidden is not None:
            self.hidden = self.hidden.flatten(0, 1).index_select(0, flat).view(*rows.shape, -1)


@dataclass(slots=True, eq=False)
class LstmState:
    """The state of an LSTM decoder, owned by the search and passed to every `step`.

    Attributes:
        image: Keys and values of the image `[B, G, N, d]`, shared by all beams, never copied.
        mean: `[B, D]`, the mean image token.
        hidden: `[B, K, D]`, h, from which logits are made.
        cell: `[B, K, D]`, the memory cell c.
        max_length: The number of tokens it may see.
        length: Tokens seen so far.
    """

    image: KeyValue
    mean: Tensor
    hidden: Tensor
    cell: Tensor
    max_length: int
    length: int = 0

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`.

        Args:
            rows: int64 `[B, K']` with values in `[0, K)`; `K'` may differ from `K`.
        """
        index = rows[:, :, None].expand(-1, -1, self.hidden.shape[-1])
        self.hidden = self.hidden.gather(1, index)
        self.cell = self.cell.gather(1, index)
