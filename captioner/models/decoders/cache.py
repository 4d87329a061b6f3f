"""State of a cached decode: keys and values of a Transformer decoder, the recurrent state of an LSTM decoder.

A Transformer's keys and values lie in room for the longest caption, layer by layer. A step reads them in one of two
layouts: `LayerCache`, the tokens so far, a tensor that grows; or `StaticLayerCache`, all of the room under a mask,
static shapes for `torch.compile`. Self-attention over them is all of a step's cost that grows with the length. Beam
search also reorders them at each step (`select`), a copy unless every beam continues from itself.

Axis letters: `B` images, `K` beams, `G` heads of keys and values, `T` room in tokens, `N` image tokens, `d` head width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.models.attention import KeyValue


@dataclass(slots=True, eq=False)
class DecoderCache:
    """The state of a Transformer's cached decode, owned by the search and passed to every `step`.

    Attributes:
        image: One entry a layer: keys and values of the image `[B, G, N, d]`, shared by all beams, never copied.
        keys: One entry a layer: `[B*K, G, T, d]`, the first `length` positions filled.
        values: Like `keys`.
        length: Tokens so far.
        hidden: `[B, K, D]`, the state from which the last step's logits were computed; None before the first.
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

    @property
    def layers(self) -> list[LayerCache]:
        """Each layer's part, for the next step."""
        return [LayerCache(k, v, self.length) for k, v in zip(self.keys, self.values, strict=True)]

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`.

        Tensors stay where they are while `K` does, as a step recorded on a GPU needs.

        Args:
            rows: int64 `[B, K']` with values in `[0, K)`; `K'` may differ from `K`.
        """
        images, total = rows.shape[0], self.keys[0].shape[0]
        # [B, K'] within images -> [B*K'] of all beams
        flat = (torch.arange(images, device=rows.device)[:, None] * (total // images) + rows).flatten()
        if len(flat) == total:
            _reorder([part[:, :, : self.length] for part in (*self.keys, *self.values)], flat)
        else:
            self.keys = [part.index_select(0, flat) for part in self.keys]
            self.values = [part.index_select(0, flat) for part in self.values]
        if self.hidden is not None:
            self.hidden = self.hidden.flatten(0, 1).index_select(0, flat).view(*rows.shape, -1)


def _reorder(parts: Iterable[Tensor], rows: Tensor) -> None:
    """Let row i of each part become what row `rows[i]` was, in place, a part at a time: there is no second cache.

    To copy only the rows that change is no faster: they are not adjacent.
    """
    if not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
        for part in parts:
            part.copy_(part.index_select(0, rows))


@dataclass(slots=True, eq=False)
class LayerCache:
    """One layer's keys and values during one step, of the tokens so far.

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
        """Which of the tokens that `append` returns are attended to: all."""
        return None

    def append(self, new: KeyValue) -> KeyValue:
        """Store one token's keys and values `[B*K, G, 1, d]`; return all so far `[B*K, G, length+1, d]`."""
        end = self.length + 1
        self.keys[:, :, self.length : end] = new.keys
        self.values[:, :, self.length : end] = new.values
        return KeyValue(self.keys[:, :, :end], self.values[:, :, :end])


@dataclass(slots=True, eq=False)
class StaticLayerCache:
    """One layer's keys and values during one step, of one shape at every step.

    Attributes:
        keys: `[B*K, G, T, d]`, all of the room, filled or not.
        values: Like `keys`.
        at: int64 `[1]`: the newest token's position.
        allowed: bool `[T]`: which tokens are attended to, the newest included.
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
class LstmState:
    """The state of an LSTM decoder, owned by the search and passed to every `step`.

    Attributes:
        image: Keys and values of the image `[B, G, N, d]`, shared by all beams, never copied.
        mean: `[B, D]`, the mean image token.
        hidden: `[B, K, D]`, h, from which logits are computed.
        cell: `[B, K, D]`, the memory cell c.
        max_length: The number of tokens it takes.
        length: Tokens so far.
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
