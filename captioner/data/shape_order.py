"""Order of batches that contain one input shape each, for inputs in the photos' own shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import torch

from captioner.data.torch_dataset import SampleRequest


class ShapeOrder:
    """The batches of an epoch for one process, as in `EpochOrder`, but each of one shape.

    A shape's last batch may be smaller. None is left out: that would always affect the rare shapes. Every process gets
    the same number of batches: they are padded from their own start.

    Args:
        shapes: The shape of each sample.
        batch_size: Most samples per batch and process.
        seed: Seed of the order.
        shuffle: Shuffle, or keep the dataset's order within each shape; then padding does not count.
        rank: The rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.shapes = shapes
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self._length = -(-len(self._all(list(range(len(shapes))))) // world_size)

    def __len__(self) -> int:
        return self._length

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[SampleRequest]]:
        """The batches of `epoch` from batch `skip` on."""
        order = list(range(len(self.shapes)))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator).tolist()
        batches = self._all(order)
        if self.shuffle:
            # A batch is complete at its last sample, so incomplete ones would all be at the end.
            batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        own = islice(cycle(range(len(batches))), self.rank, len(self) * self.world_size, self.world_size)
        for number, position in enumerate(own):
            if number >= skip:
                counts = self.shuffle or number * self.world_size + self.rank < len(batches)
                yield [SampleRequest(epoch, index, counts) for index in batches[position]]

    def _all(self, order: Sequence[int]) -> list[list[int]]:
        """Batches of one shape each, filled in the given order."""
        full: list[list[int]] = []
        waiting: dict[tuple[int, int], list[int]] = {}
        for index in order:
            batch = waiting.setdefault(self.shapes[index], [])
            batch.append(index)
            if len(batch) == self.batch_size:
                full.append(waiting.pop(self.shapes[index]))
        return [*full, *waiting.values()]
