"""What does a training step see? `CaptionBatch`: images once, with all their captions as padded token ids.

Axis letters: `B` images, `C` captions per image, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class CaptionBatch:
    """Images with their captions.

    Attributes:
        images: float32 `[B, 3, rows, cols]`, normalised, channels last in memory.
        tokens: int64 `[B, C, L]`: BOS, the caption, EOS, then padding. A caption that an image lacks is all padding.
        indices: int64 `[B]`, the position of each image in its dataset.
    """

    images: Tensor
    tokens: Tensor
    indices: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> CaptionBatch:
        """The same batch on another device."""
        return CaptionBatch(
            self.images.to(device, non_blocking=non_blocking, memory_format=torch.channels_last),
            self.tokens.to(device, non_blocking=non_blocking),
            self.indices.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> CaptionBatch:
        """The same batch in page-locked memory, for a faster copy to a GPU."""
        return CaptionBatch(self.images.pin_memory(), self.tokens.pin_memory(), self.indices.pin_memory())


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSample:
    """One image ready for a batch: pixels float32 `[3, rows, cols]`, ids of each caption, place in the dataset."""

    image: Tensor
    captions: tuple[tuple[int, ...], ...]
    index: int


def collate(samples: Sequence[EncodedSample], *, bos_id: int, eos_id: int, pad_id: int) -> CaptionBatch:
    """Stack samples, padding their captions to the longest."""
    C = max(1, *(len(s.captions) for s in samples))
    L = 2 + max((len(ids) for s in samples for ids in s.captions), default=0)
    tokens = torch.full((len(samples), C, L), pad_id)
    for b, sample in enumerate(samples):
        for c, ids in enumerate(sample.captions):
            tokens[b, c, : len(ids) + 2] = torch.tensor([bos_id, *ids, eos_id])
    images = torch.stack([s.image for s in samples]).contiguous(memory_format=torch.channels_last)
    return CaptionBatch(images, tokens, torch.tensor([s.index for s in samples]))
