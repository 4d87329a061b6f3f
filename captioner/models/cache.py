"""What does a decoder remember between two tokens? Keys and values, and nothing hidden.

Axis letters: `B` images, `K` beams, `H` heads, `T` room in tokens, `N` image tokens, `d` head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.models.attention import KeyValue


@dataclass(slots=True, eq=False)
class DecoderCache:
    """The state of a cached decode, owned by the search and passed to every `step`.

    Attributes:
        image: One entry a layer: keys and values of the image `[B, H, N, d]`, shared by all beams, never copied.
        keys: `[layers, B*K, H, T, d]`, the first `length` positions filled.
        values: Like `keys`.
        length: Tokens seen so far.
    """

    image: tuple[KeyValue, ...]
    keys: Tensor
    values: Tensor
    length: int = 0

    @property
    def max_length(self) -> int:
        """The number of tokens the cache has room for."""
        return self.keys.shape[3]

    def append(self, layer: int, new: KeyValue) -> KeyValue:
        """Store one token's keys and values `[B*K, H, 1, d]`; return all so far `[B*K, H, length+1, d]`."""
        end = self.length + 1
        self.keys[layer, :, :, self.length : end] = new.keys
        self.values[layer, :, :, self.length : end] = new.values
        return KeyValue(self.keys[layer, :, :, :end], self.values[layer, :, :, :end])

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`.

        Args:
            rows: int64 `[B, K']` with values in `[0, K)`; `K'` may differ from `K`.
        """
        beams = self.keys.shape[1] // rows.shape[0]
        first = torch.arange(rows.shape[0], device=rows.device)[:, None] * beams
        flat = (first + rows).flatten()
        self.keys = self.keys.index_select(1, flat)
        self.values = self.values.index_select(1, flat)
