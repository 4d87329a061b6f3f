"""Batch of a training step, `CaptionBatch`: each image once, with all its captions as padded token ids.

Axis letters: `B` images, `C` captions per image, `L` tokens, `N` image tokens, `D` width of the encoder's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captioner.models.image_tokens import ImageTokens


@dataclass(slots=True, eq=False)
class CaptionBatch:
    """Images with their captions.

    Attributes:
        images: Pixels float32 `[B, 3, rows, cols]`, normalised, channels last in memory; or the stored tokens of a
            frozen encoder in their place.
        tokens: int64 `[B, C, L]`: BOS, the caption, EOS, then padding. A missing caption is all padding.
        indices: int64 `[B]`, the position of each image in its dataset.
        faults: Error messages of unreadable photos, each replaced by a blank image without captions.
    """

    images: Tensor | ImageTokens
    tokens: Tensor
    indices: Tensor
    faults: tuple[str, ...] = ()

    def to(self, device: torch.device, *, non_blocking: bool = False) -> CaptionBatch:
        """The same batch on another device."""
        return CaptionBatch(
            replace(self.images, features=self.images.features.to(device, non_blocking=non_blocking))
            if isinstance(self.images, ImageTokens)
            else self.images.to(device, non_blocking=non_blocking, memory_format=torch.channels_last),
            self.tokens.to(device, non_blocking=non_blocking),
            self.indices.to(device, non_blocking=non_blocking),
            self.faults,
        )

    def pin_memory(self) -> CaptionBatch:
        """The same batch in page-locked memory, for a faster copy to a GPU."""
        return CaptionBatch(
            replace(self.images, features=self.images.features.pin_memory())
            if isinstance(self.images, ImageTokens)
            else self.images.pin_memory(),
            self.tokens.pin_memory(),
            self.indices.pin_memory(),
            self.faults,
        )


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSample:
    """One image ready for a batch.

    Attributes:
        image: Pixels float32 `[3, rows, cols]`, or stored features float32 `[N, D]`.
        captions: Token ids of each caption.
        index: Index in the dataset.
        fault: The error message if the photo could not be read.
    """

    image: Tensor
    captions: tuple[tuple[int, ...], ...]
    index: int
    fault: str | None = None


def collate(
    samples: Sequence[EncodedSample],
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    like: ImageTokens | None = None,
) -> CaptionBatch:
    """Stack samples and pad their captions to the longest.

    Args:
        samples: At least one.
        bos_id: Prepended to each caption.
        eos_id: Appended to each caption.
        pad_id: Padding.
        like: Tokens of the encoder whose stored features the samples contain; None for pixels.
    """
    C = max(1, *(len(s.captions) for s in samples))
    L = 2 + max((len(ids) for s in samples for ids in s.captions), default=0)
    tokens = torch.full((len(samples), C, L), pad_id)
    for b, sample in enumerate(samples):
        for c, ids in enumerate(sample.captions):
            tokens[b, c, : len(ids) + 2] = torch.tensor([bos_id, *ids, eos_id])
    faults = tuple(s.fault for s in samples if s.fault is not None)
    stacked = torch.stack([s.image for s in samples])
    images = (
        stacked.contiguous(memory_format=torch.channels_last)
        if like is None
        else replace(like, features=stacked)
    )
    return CaptionBatch(images, tokens, torch.tensor([s.index for s in samples]), faults)
