"""Seeded data loader that can resume within an epoch.

The order of an epoch depends on seed and epoch alone, and an augmentation on seed, epoch and sample, never on the
number of workers. A run stopped at any batch therefore continues exactly as the uninterrupted run would have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from captioner.data.batch import CaptionBatch, EncodedSample
from captioner.data.torch_dataset import SampleRequest
from captioner.errors import CaptionerError


class EpochOrder:
    """The batches of an epoch for one process: shuffled by seed and epoch, distributed over the processes.

    Every process gets the same number of batches of the same size: the order is padded from its own start, and with
    `drop_last` the incomplete batch at the end is left out (unless it is the only one). In an order that is not
    shuffled, as in validation, the padding does not count.

    Args:
        size: Samples in the dataset.
        batch_size: Samples per batch and process.
        seed: Seed of the order.
        shuffle: Shuffle, or keep the dataset's order.
        drop_last: Leave out an incomplete last batch.
        rank: The rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        own = -(-self.size // self.world_size)
        return max(1, own // self.batch_size) if self.drop_last else -(-own // self.batch_size)

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[SampleRequest]]:
        """The batches of `epoch` from batch `skip` on."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
        else:
            order = list(range(self.size))
        # Padded from its own start, repeatedly if there are more processes than samples.
        padded = -(-self.size // self.world_size) * self.world_size
        own = list(islice(cycle(order), self.rank, padded, self.world_size))
        # A repeated sample is harmless in training; a score must count each sample once.
        counted = len(own) if self.shuffle else len(range(self.rank, self.size, self.world_size))
        for number in range(skip, len(self)):
            positions = range(number * self.batch_size, min((number + 1) * self.batch_size, len(own)))
            yield [SampleRequest(epoch, own[position], position < counted) for position in positions]


class Order(Protocol):
    """The batches of each epoch, and the seed that determines them."""

    seed: int

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        ...

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[Any]]:
        """The requests to the dataset, batch by batch, from batch `skip` on."""
        ...


class ResumableLoader:
    """Batches of successive epochs; `epoch` and `done` are the position and may be set to resume.

    Args:
        dataset: Gives an `EncodedSample` for each request of `order`.
        order: The batches of each epoch.
        collate: Makes a batch of samples.
        num_workers: Worker processes; 0 loads in this one. The batches are the same either way.
        pin_memory: Whether batches are in page-locked memory.

    Attributes:
        epoch: The epoch of the next iteration; incremented when an iteration begins.
        done: Batches of that epoch to skip, because an earlier run used them.
    """

    def __init__(
        self,
        dataset: Dataset[EncodedSample],
        order: Order,
        *,
        collate: Callable[[Sequence[EncodedSample]], CaptionBatch],
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.order = order
        self.epoch = 0
        self.done = 0
        self._sampler = _OnePass(order)
        self._loader: DataLoader[EncodedSample] = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            collate_fn=collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            # Each iteration draws a number at its start. Drawn from the global generator it would change dropout in
            # runs that validate or resume within an epoch.
            generator=torch.Generator().manual_seed(order.seed),
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[CaptionBatch]:
        self._sampler.epoch, self._sampler.skip = self.epoch, self.done
        # At the start, not at the end: a trainer that knows the number of batches never exhausts the iterator.
        self.epoch, self.done = self.epoch + 1, 0
        with unwrap_worker_errors():
            yield from self._loader


@contextlib.contextmanager
def unwrap_worker_errors() -> Iterator[None]:
    """Raise our errors from worker processes without the worker's traceback in the message."""
    try:
        yield
    except CaptionerError as error:
        # torch puts the worker's traceback before the message; the last line is the error itself.
        *traceback, message = str(error).strip().splitlines()
        raise (type(error)(message.partition(": ")[2]) if traceback else error) from None


class _OnePass:
    """The batch sampler of torch's DataLoader: the rest of one epoch."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.epoch = 0
        self.skip = 0

    def __iter__(self) -> Iterator[list[Any]]:
        return self.order.batches(self.epoch, skip=self.skip)

    def __len__(self) -> int:
        return len(self.order)
