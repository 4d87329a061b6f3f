"""In which order are samples read, and where does a resumed run go on? A seeded loader that knows its place.

The order of an epoch depends on seed and epoch alone, and an augmentation on seed, epoch and sample, never on the
number of workers. So a run that was stopped anywhere reads on exactly as the uninterrupted run would have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from captioner.data.batch import CaptionBatch, EncodedSample
from captioner.data.torch_dataset import Draw
from captioner.errors import CaptionerError


class EpochOrder:
    """The batches of an epoch for one process: shuffled by seed and epoch, dealt out over the processes.

    Every process gets the same number of batches of the same size: the order is filled up from its own start, and
    with `drop_last` the incomplete batch at the end is left out (unless it is the only one). What fills up an order
    that is not shuffled, as in validation, does not count.

    Args:
        size: Samples in the dataset.
        batch_size: Samples per batch and process.
        seed: Seed of the order.
        shuffle: Shuffle, or keep the dataset's order.
        drop_last: Leave out an incomplete last batch.
        rank: This process.
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

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[Draw]]:
        """The batches of `epoch` from number `skip` on."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
        else:
            order = list(range(self.size))
        # Filled up from its own start, as often as it takes where there are more processes than samples.
        whole = -(-self.size // self.world_size) * self.world_size
        own = list(islice(cycle(order), self.rank, whole, self.world_size))
        # In training a sample more does no harm; a score counts each sample once.
        counted = len(own) if self.shuffle else len(range(self.rank, self.size, self.world_size))
        for number in range(skip, len(self)):
            places = range(number * self.batch_size, min((number + 1) * self.batch_size, len(own)))
            yield [Draw(epoch, own[place], place < counted) for place in places]


class Order(Protocol):
    """The batches of each epoch, and the seed that decides them."""

    seed: int

    def __len__(self) -> int:
        """How many batches an epoch has."""
        ...

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[Any]]:
        """What the dataset is asked for, batch by batch, from batch `skip` on."""
        ...


class ResumableLoader:
    """Batches of one epoch after the other; `epoch` and `done` say where it stands and may be set to go on there.

    Args:
        dataset: Gives an `EncodedSample` for what `order` asks for.
        order: The batches of each epoch.
        collate: Makes a batch of samples.
        num_workers: Reading processes; 0 reads in this one. The batches are the same either way.
        pin_memory: Put batches in page-locked memory.

    Attributes:
        epoch: The epoch the next iteration reads; one more as soon as an iteration has begun.
        done: Batches of that epoch to skip, because an earlier run has used them.
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
            # Beginning an iteration draws a number: not from the generator that dropout draws from, or a run that
            # validates or is resumed in the middle of an epoch would drop other units than one that is not.
            generator=torch.Generator().manual_seed(order.seed),
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[CaptionBatch]:
        self._sampler.epoch, self._sampler.skip = self.epoch, self.done
        # At the start, not at the end: a trainer that knows the number of batches never asks for the end.
        self.epoch, self.done = self.epoch + 1, 0
        with own_words():
            yield from self._loader


@contextlib.contextmanager
def own_words() -> Iterator[None]:
    """Let what a reading process raises be told in its own sentence."""
    try:
        yield
    except CaptionerError as error:
        # torch wraps what a worker raises in that worker's traceback; the last line is our own sentence.
        *traceback, sentence = str(error).strip().splitlines()
        raise (type(error)(sentence.partition(": ")[2]) if traceback else error) from None


class _OnePass:
    """The batch sampler torch's DataLoader iterates: the rest of one epoch."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.epoch = 0
        self.skip = 0

    def __iter__(self) -> Iterator[list[Any]]:
        return self.order.batches(self.epoch, skip=self.skip)

    def __len__(self) -> int:
        return len(self.order)
