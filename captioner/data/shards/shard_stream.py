"""Shuffled, resumable stream of shards for training.

The shards of an epoch are shuffled; their concatenated samples are divided into one contiguous range per process; each
process reads its range sequentially through a shuffle buffer. The order depends on seed, epoch and rank alone: a
resumed run computes, without reading, which samples its buffer contained, and reads these and the following ones.

Photos stay encoded until a worker process decodes them; the number of workers does not change the samples.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from torch.utils.data import Dataset

from captioner.data.batch import EncodedSample
from captioner.data.integrity.faults import OnBad
from captioner.data.samples import CaptionDataset, CaptionSample
from captioner.data.shards.shard_dataset import Shards, StoredSample
from captioner.data.torch_dataset import EncodedDataset, ImageInputs, SampleRequest
from captioner.errors import DataError, ImageError, UsageError
from captioner.image.decode import Photo
from captioner.image.photo_reader import NamedPhoto, decode_named
from captioner.prefetch import buffered, in_batches
from captioner.text.tokenizer import Tokenizer

_AHEAD = 2  # batches read in advance


@dataclass(frozen=True, slots=True)
class StreamedRequest:
    """One sample of one epoch with its content, for a worker process to decode.

    Attributes:
        request: As for any dataset; the index is the sample's number in the unshuffled shards.
        sample: None for padding that gives every process the same number of samples.
    """

    request: SampleRequest
    sample: StoredSample | None


@dataclass(frozen=True, slots=True, order=True)
class _Position:
    """A sample in the order of reading: its number in that order, its shard, and its index in the shard."""

    number: int
    shard: int
    index: int


class ShardOrder:
    """The batches of an epoch for one process. Each sample is in exactly one batch of one process.

    Args:
        shards: The shards.
        batch_size: Samples per batch and process.
        seed: Seed of the order.
        buffer: Size of the shuffle buffer, in samples, which stay encoded in memory.
        rank: The rank of this process.
        world_size: Number of processes; all get the same number of batches of the same sizes.

    Raises:
        UsageError: If `buffer` is below 1.
    """

    def __init__(
        self,
        shards: Shards,
        batch_size: int,
        *,
        seed: int = 0,
        buffer: int = 1000,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if buffer < 1:
            raise UsageError(f"data.shuffle_buffer={buffer} must be at least 1")
        self.shards = shards
        self.batch_size = batch_size
        self.seed = seed
        self.buffer = buffer
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        most = -(-len(self.shards) // self.world_size)
        return -(-most // self.batch_size)

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[StreamedRequest]]:
        """The batches of `epoch` from batch `skip` on. Raises DataError at a damaged shard or sample."""
        with closing(buffered(self._batches(epoch, skip), _AHEAD)) as ahead:
            yield from ahead

    def _batches(self, epoch: int, skip: int) -> Iterator[list[StreamedRequest]]:
        return in_batches(self._requests(epoch, skip * self.batch_size), self.batch_size)

    def _requests(self, epoch: int, skip: int) -> Iterator[StreamedRequest]:
        shuffle = _ShuffleBuffer(self._positions(epoch), self.buffer, f"{self.seed}-{epoch}-{self.rank}")
        for _ in itertools.islice(shuffle, skip):
            pass
        # First the samples that are in the buffer, then those that have not entered it yet.
        following = itertools.islice(self._positions(epoch), shuffle.entered, None)
        reading = self._read(itertools.chain(sorted(shuffle.slots), following))
        loaded: dict[int, StoredSample] = {}
        for position in shuffle:
            while position.number not in loaded:
                number, sample = next(reading)
                loaded[number] = sample
            index = self.shards.starts[position.shard] + position.index
            yield StreamedRequest(SampleRequest(epoch, index), loaded.pop(position.number))
        own = self._own_range()
        if len(own) < -(-len(self.shards) // self.world_size) and skip <= len(own):
            yield StreamedRequest(SampleRequest(epoch, 0, counts=False), None)

    def _own_range(self) -> range:
        """This process's range of the concatenated samples of the shuffled shards."""
        size = len(self.shards)
        return range(size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size)

    def _positions(self, epoch: int) -> Iterator[_Position]:
        """This process's samples in the order of reading."""
        order = list(range(len(self.shards.names)))
        random.Random(f"{self.seed}-{epoch}").shuffle(order)  # noqa: S311  # a reproducible order
        own = self._own_range()
        start = 0
        for shard in order:
            count = self.shards.starts[shard + 1] - self.shards.starts[shard]
            for number in range(max(start, own.start), min(start + count, own.stop)):
                yield _Position(number, shard, number - start)
            start += count

    def _read(self, positions: Iterator[_Position]) -> Iterator[tuple[int, StoredSample]]:
        """The samples at ascending positions; opens each shard at most once, and only shards with a position."""
        for shard, wanted in itertools.groupby(positions, key=lambda position: position.shard):
            samples = enumerate(self.shards.read(shard))
            for position in wanted:
                for index, sample in samples:
                    if index == position.index:
                        yield position.number, sample
                        break


class _ShuffleBuffer:
    """A buffer that items leave in random order.

    Attributes:
        slots: The items in the buffer.
        entered: The number of items that have entered.
    """

    def __init__(self, items: Iterator[_Position], size: int, seed: str) -> None:
        self.slots: list[_Position] = []
        self.entered = 0
        self._items = items
        self._size = size
        self._random = random.Random(seed)  # noqa: S311  # a reproducible order
        self._ended = False

    def __iter__(self) -> _ShuffleBuffer:
        return self

    def __next__(self) -> _Position:
        if not self._ended:
            for item in self._items:
                self.entered += 1
                if len(self.slots) < self._size:
                    self.slots.append(item)
                    continue
                slot = self._random.randrange(self._size)
                leaving, self.slots[slot] = self.slots[slot], item
                return leaving
            self._ended = True
            self._random.shuffle(self.slots)
        if not self.slots:
            raise StopIteration
        return self.slots.pop()


class StreamedDataset(Dataset[EncodedSample]):
    """Decodes the streamed samples, as `EncodedDataset` does for a dataset with random access.

    Args:
        make_inputs: Makes the encoder's inputs from a dataset.
        tokenizer: As in `EncodedDataset`, like the other arguments.
        captions_per_image: The number of captions to sample; None for all.
        max_tokens: Longer captions are truncated.
        seed: Seed of all random choices.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.
    """

    def __init__(
        self,
        make_inputs: Callable[[CaptionDataset], ImageInputs],
        tokenizer: Tokenizer,
        *,
        captions_per_image: int | None,
        max_tokens: int,
        seed: int,
        on_bad: OnBad,
    ) -> None:
        self.make_inputs = make_inputs
        self.tokenizer = tokenizer
        self.captions_per_image = captions_per_image
        self.max_tokens = max_tokens
        self.seed = seed
        self.on_bad: OnBad = on_bad

    def __getitem__(self, streamed: StreamedRequest) -> EncodedSample:
        dataset = _SingleSample(streamed.sample)
        inputs = self.make_inputs(dataset)
        if streamed.sample is None:
            return EncodedSample(inputs.blank(), (), streamed.request.index)
        encoded = EncodedDataset(
            dataset,
            inputs,
            self.tokenizer,
            captions_per_image=self.captions_per_image,
            max_tokens=self.max_tokens,
            seed=self.seed,
            on_bad=self.on_bad,
        )
        return encoded[streamed.request]


class _SingleSample:
    """A dataset that gives the same sample for every index."""

    def __init__(self, sample: StoredSample | None) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> CaptionSample:
        if self.sample is None:
            raise DataError("padding has no captions")
        return CaptionSample(self.sample.id, self.sample.captions, None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        assert self.sample is not None
        if self.sample.fault is not None or self.sample.photo is None:
            raise ImageError(self.sample.fault or f"{self.sample.name} has no photo")
        return decode_named(NamedPhoto(self.sample.name, self.sample.photo), min_size)
