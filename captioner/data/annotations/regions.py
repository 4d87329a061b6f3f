"""Where on the grid lies what a word names? From boxes that a dataset knows, for attention supervision.

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
class MarkedCaption:
    """A caption of which some words are known to name something in the photo.

    Attributes:
        text: As in `CaptionSample.captions`, or normalised: its words are those of a tokenizer.
        boxes: For the index of a word in `text.split()` the boxes of what it names, (top, left, bottom, right) in
            pixels of the upright photo.
        size: (rows, cols) of the photo.
    """

    text: str
    boxes: dict[int, tuple[Box, ...]]
    size: tuple[int, int]


@runtime_checkable
class MarkedDataset(Protocol):
    """A dataset that knows where things are."""

    def marked(self, index: int) -> tuple[MarkedCaption, ...]:
        """The captions of the sample at `index`, with boxes; of a photo without boxes perhaps none.

        Raises:
            UsageError: The boxes are not at hand.
        """
        ...


class Regions:
    """Regions on the encoder's grid for the tokens of a batch.

    Args:
        dataset: The dataset that the batch's indices are places in.
        tokenizer: Made its tokens.
        transform: Made its pixels.
        grid: (rows, cols) of the encoder.
        cells: Where on the input the grid lies, as in `ImageTokens`.

    Raises:
        UsageError: If the dataset knows no boxes or has none at hand, or every photo has a grid of its own.
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
        if not isinstance(dataset, MarkedDataset):
            raise UsageError(
                "objective.attention_supervision needs boxes of what words name, and this dataset has none; "
                "take data=scenes, coco or flickr30k, or objective.attention_supervision=0"
            )
        if transform.fit == "native":
            raise UsageError(
                "objective.attention_supervision needs one grid for all photos; with image.fit=native it follows the "
                "photo; take image.fit=crop, pad or squash"
            )
        dataset.marked(0)  # what lacks is said before training begins
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.transform = transform
        self.grid = grid
        self.cells = cells
        self._geometries: dict[tuple[int, int], ImageGeometry] = {}

    def __call__(self, indices: Tensor, targets: Tensor) -> Tensor:
        """The regions of a batch.

        Args:
            indices: int64 `[B]`, places in the dataset.
            targets: int64 `[B, C, L]`: captions and EOS, without BOS, padded.

        Returns:
            float32 `[B, C, L, N]` in 0–1: of each cell the share that lies in the boxes of what the token names; all
            0 for a token that names nothing known. On the device of `targets`.
        """
        rows, cols = self.grid
        regions = torch.zeros(*targets.shape, rows * cols)
        for b, (index, captions) in enumerate(zip(indices.tolist(), targets.tolist(), strict=True)):
            known = {
                tuple(self.tokenizer.encode(caption.text)): caption for caption in self.dataset.marked(index)
            }
            for c, target in enumerate(captions):
                ids = tuple(target[: _end(target, self.tokenizer.eos_id)])
                # A caption may have been cut to the longest that the decoder takes.
                caption = next((known[full] for full in known if ids and full[: len(ids)] == ids), None)
                if caption is None:
                    continue
                for word, span in enumerate(self.tokenizer.words(ids)):
                    if word in caption.boxes:
                        cells = self._on_grid(caption.boxes[word], caption.size)
                        regions[b, c, span.start : span.end] = torch.from_numpy(cells).flatten()
        return regions.to(targets.device, non_blocking=True)

    def _on_grid(self, boxes: Sequence[Box], size: tuple[int, int]) -> NDArray[np.float32]:
        """Of each cell of the grid the share that boxes of a photo of that size cover, float32 `[rows, cols]`."""
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
    """Of each of `cells` equal parts of [start, stop] the share that lies in [low, high]."""
    edges = np.linspace(start, stop, cells + 1)
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    shares: NDArray[np.float64] = inside.clip(min=0) / (edges[1] - edges[0])
    return shares
