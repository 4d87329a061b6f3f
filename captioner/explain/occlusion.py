"""Occlusion (Zeiler & Fergus 2014): the drop of each word's log-probability when a patch of the photo is covered.

Each patch in turn is covered with the mean colour, which is also that of padding; the photo is encoded again and the
caption is teacher-forced: all words in one pass, many patches in one batch. captum's `Occlusion`, with which the tests
compare it, explains one word at a time and encodes every covered photo again for each.

Axis letters: `B` images, `P` patches, `L` tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.teacher_forcing import CaptionedBatch, full_precision, token_logprobs
from captioner.image.geometry import Box, cell_edges
from captioner.models.captioner import Captioner, Memory

AT_ONCE = 16
"""Covered images encoded together; more need memory and save no time."""
_MAX_SIDE = 12


class Occlusion:
    """Occlusion of patches that coincide with the cells of the map.

    Args:
        grid: Rows and columns of patches. None takes the encoder's grid, divided by a whole number where it has more
            than 12 rows or columns.
        name: Name as the user wrote it.

    Raises:
        UsageError: If rows or columns are below 1.
    """

    unit: Unit = "nats"
    cost = "an encoder pass and a decoder pass per patch"

    def __init__(self, grid: tuple[int, int] | None = None, *, name: str = "occlusion") -> None:
        if grid is not None and min(grid) < 1:
            raise UsageError(f"explain={name}: rows and columns of patches must be at least 1")
        self.grid = grid
        self.name = name

    def check(self, captioner: Captioner) -> None:
        """Check that no patch is smaller than a pixel.

        Raises:
            UsageError: If one is.
        """
        sides = captioner.encoder.image_size
        if self.grid is not None and (self.grid[0] > sides[0] or self.grid[1] > sides[1]):
            raise UsageError(
                f"explain={self.name}: there are more patches than the {sides[0]} x {sides[1]} pixels of the model's "
                "input; take fewer, such as 7x7"
            )

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]` in nats; negative where covering a patch makes the word more probable."""
        grid = self.grid or _coarse(batch.memory.grid)
        H, W = batch.images.shape[-2:]
        covers = patches(grid, (H, W), batch.memory.cells).to(batch.images.device)  # [P, H, W]
        encode = batch.captioner.encode
        memory = batch.full_memory
        with full_precision(batch.images.device):
            images = batch.images.clone()
            before = _logprobs(batch, memory, batch.tokens)
            maps = []
            for image, tokens, of_caption in zip(images, batch.tokens, before, strict=True):
                after = torch.cat(
                    [
                        _logprobs(
                            batch,
                            encode(
                                image.masked_fill(some[:, None], 0.0).contiguous(
                                    memory_format=torch.channels_last
                                )
                            ),
                            tokens.expand(len(some), -1),
                        )
                        for some in torch.split(covers, AT_ONCE)
                    ]
                )
                maps.append((of_caption - after).T.unflatten(1, grid))  # [P, L] -> [L, rows, cols]
            return torch.stack(maps)


def _logprobs(batch: CaptionedBatch, memory: Memory, tokens: Tensor) -> Tensor:
    """Log-probabilities `[B, L]` of one caption `[B, L]` for each encoded image."""
    return token_logprobs(batch.captioner, memory.features, tokens[:, None], batch.special)[:, 0]


def patches(grid: tuple[int, int], size: tuple[int, int], cells: Box | None) -> Tensor:
    """Masks of the patches, row by row: bool `[rows * cols, H, W]`; each pixel lies in exactly one.

    Args:
        grid: Rows and columns of patches.
        size: Rows and columns of pixels.
        cells: The rectangle of the input that a map divides evenly, as in `ImageGeometry`; None for all of it.
    """
    top, left, bottom, right = cells or (0.0, 0.0, float(size[0]), float(size[1]))
    within = []
    for count, pixels, span in ((grid[0], size[0], (top, bottom)), (grid[1], size[1], (left, right))):
        edges = torch.from_numpy(cell_edges(count, span=span, within=(0.0, float(pixels))))
        middles = torch.arange(pixels, dtype=edges.dtype) + 0.5
        within.append(torch.bucketize(middles, edges[1:-1], right=True) == torch.arange(count)[:, None])
    # [rows, H], [cols, W] -> [rows*cols, H, W]
    return (within[0][:, None, :, None] & within[1][None, :, None, :]).flatten(0, 1)


def _coarse(grid: tuple[int, int]) -> tuple[int, int]:
    factor = -(-max(grid) // _MAX_SIDE)
    return -(-grid[0] // factor), -(-grid[1] // factor)
