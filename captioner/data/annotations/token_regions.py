"""Regions of the encoder's grid that a token's word names, from annotated boxes; targets of attention supervision.

Axis letters: `B` images, `C` captions per image, `L` tokens, `N` cells of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.data.samples import CaptionDataset
from captioner.errors import UsageError
from captioner.image.decode import Photo
from captioner.image.geometry import Box, ImageGeometry
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class CaptionWithBoxes:
    """A caption with boxes for some of its words.

    Attributes:
        text: As in `CaptionSample.captions`, or normalised: its words are those of a tokenizer.
        boxes: The boxes of the objects that a word names, by the word's index in `text.split()`: (top, left, bottom,
            right) in pixels of the upright photo.
        size: (rows, cols) of the photo.
    """

    text: str
    boxes: dict[int, tuple[Box, ...]]
    size: tuple[int, int]


@runtime_checkable
class DatasetWithBoxes(Protocol):
    """A data set with boxes for the words of its captions."""

    def captions_with_boxes(self, index: int) -> tuple[CaptionWithBoxes, ...]:
        """The captions of the sample at `index`, with boxes; possibly none for a photo without boxes.

        Raises:
            UsageError: The boxes are missing.
        """
        ...


class TokenRegions:
    """TokenRegions on the encoder's grid for the tokens of a batch.

    Args:
        dataset: The dataset that the batch's indices refer to.
        tokenizer: The tokenizer of the batch's tokens.
        transform: The transform of the batch's pixels.
        grid: (rows, cols) of the encoder.
        cells: The rectangle of the input that the grid covers, as in `ImageTokens`.

    Raises:
        UsageError: If the dataset has no boxes or its boxes are missing, or each photo has its own grid.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        *,
        tokenizer: Tokenizer,
        transform: ImageTransform,
        grid: tuple[int, int],
        cells: Box | None,
    ) -> None:
        if not isinstance(dataset, DatasetWithBoxes):
            raise UsageError(
                "objective.attention_supervision needs boxes for the words of captions, and this dataset has none; "
                "take data=scenes, coco or flickr30k, or objective.attention_supervision=0"
            )
        if transform.fit == "native":
            raise UsageError(
                "objective.attention_supervision needs one grid for all photos; with image.fit=native it depends on "
                "the photo; take image.fit=crop, pad or squash"
            )
        dataset.captions_with_boxes(0)  # missing boxes are reported before training begins
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.transform = transform
        self.grid = grid
        self.cells = cells
        self._geometries: dict[tuple[int, int], ImageGeometry] = {}

    def __call__(self, indices: Tensor, targets: Tensor) -> Tensor:
        """The regions of a batch.

        Args:
            indices: int64 `[B]`, indices into the dataset.
            targets: int64 `[B, C, L]`: captions and EOS, without BOS, padded.

        Returns:
            float32 `[B, C, L, N]` in 0–1: the share of each cell that lies in the boxes of the token's word; all 0 for
            a word without boxes. On the device of `targets`.
        """
        rows, cols = self.grid
        regions = torch.zeros(*targets.shape, rows * cols)
        for b, (index, captions) in enumerate(zip(indices.tolist(), targets.tolist(), strict=True)):
            known = {
                tuple(self.tokenizer.encode(caption.text)): caption
                for caption in self.dataset.captions_with_boxes(index)
            }
            for c, target in enumerate(captions):
                ids = tuple(target[: _end(target, self.tokenizer.eos_id)])
                # A caption may have been truncated to the decoder's maximum length.
                caption = next((known[full] for full in known if ids and full[: len(ids)] == ids), None)
                if caption is None:
                    continue
                for word, span in enumerate(self.tokenizer.words(ids)):
                    if word in caption.boxes:
                        cells = self._on_grid(caption.boxes[word], caption.size)
                        regions[b, c, span.start : span.end] = torch.from_numpy(cells).flatten()
        return regions.to(targets.device, non_blocking=True)

    def _on_grid(self, boxes: Sequence[Box], size: tuple[int, int]) -> NDArray[np.float32]:
        """The share of each cell that boxes of a photo of that size cover, float32 `[rows, cols]`."""
        if size not in self._geometries:
            blank = Photo(np.zeros((*size, 3), dtype=np.uint8), size=size, orientation=1, path=None)
            self._geometries[size] = replace(self.transform(blank)[1], cells=self.cells)
        geometry = self._geometries[size]
        top, left, bottom, right = geometry.cells_view
        shares = np.zeros(self.grid)
        for box in boxes:
            down = _overlap(box[0], box[2], top, bottom, self.grid[0])
            across = _overlap(box[1], box[3], left, right, self.grid[1])
            shares += down[:, None] * across
        return shares.clip(max=1).astype(np.float32)


def _end(target: Sequence[int], eos_id: int) -> int:
    return target.index(eos_id) if eos_id in target else 0


def _overlap(low: float, high: float, start: float, stop: float, cells: int) -> NDArray[np.float64]:
    """The share of each of `cells` equal parts of [start, stop] that lies in [low, high]."""
    edges = np.linspace(start, stop, cells + 1)
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    shares: NDArray[np.float64] = inside.clip(min=0) / (edges[1] - edges[0])
    return shares
