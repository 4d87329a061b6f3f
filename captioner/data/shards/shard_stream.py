"""In which order does training read shards, and where does it go on? A shuffled stream that knows its place.

The shards of an epoch are shuffled; the samples, end to end, are cut into one stretch for each process; each process
reads its stretch from front to back through a shuffle buffer. All of it follows from seed, epoch and rank: a run that
was stopped computes, without reading, which samples its buffer held, and reads those and what follows.

Photos stay encoded until a reading process decodes them: how many of those there are changes nothing.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from torch.utils.data import Dataset

from captioner.data.batch import EncodedSample
from captioner.data.samples import CaptionDataset, CaptionSample
from captioner.data.shards.shards import Shards, StoredSample
from captioner.data.torch_dataset import Draw, Encoded, OnBad, Pictures
from captioner.errors import DataError, ImageError, UsageError
from captioner.image.decode import Photo
from captioner.image.photo_reader import NamedPhoto, decode_named
from captioner.prefetch import buffered, in_batches
from captioner.text.tokenizer import Tokenizer

_AHEAD = 2  # batches that are read from disk while others are decoded


@dataclass(frozen=True, slots=True)
class StreamedDraw:
    """One sample of one epoch with its content: what a reading process decodes.

    Attributes:
        draw: As of any dataset; its index is the sample's number in the unshuffled shards.
        sample: None where it only makes this process's share as large as the others'.
    """

    draw: Draw
    sample: StoredSample | None


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """A sample in the order of reading: its number there, its shard, and its place within."""

    number: int
    shard: int
    place: int


class ShardOrder:
    """The batches of an epoch for one process. Each sample is in exactly one batch of one process.

    Args:
        shards: What is read.
        batch_size: Samples per batch and process.
        seed: Seed of the order.
        buffer: Samples among which the next is drawn; kept in memory, encoded.
        rank: This process.
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

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[list[StreamedDraw]]:
        """The batches of `epoch` from number `skip` on. Raises DataError at what is damaged."""
        with closing(buffered(self._batches(epoch, skip), _AHEAD)) as ahead:
            yield from ahead

    def _batches(self, epoch: int, skip: int) -> Iterator[list[StreamedDraw]]:
        return in_batches(self._draws(epoch, skip * self.batch_size), self.batch_size)

    def _draws(self, epoch: int, skip: int) -> Iterator[StreamedDraw]:
        shuffle = _Shuffle(self._places(epoch), self.buffer, f"{self.seed}-{epoch}-{self.rank}")
        for _ in itertools.islice(shuffle, skip):
            pass
        # What entered the buffer and did not leave it, then what has not entered yet.
        to_come = itertools.islice(self._places(epoch), shuffle.entered, None)
        reading = self._read(itertools.chain(sorted(shuffle.slots), to_come))
        held: dict[int, StoredSample] = {}
        for place in shuffle:
            while place.number not in held:
                number, sample = next(reading)
                held[number] = sample
            index = self.shards.starts[place.shard] + place.place
            yield StreamedDraw(Draw(epoch, index), held.pop(place.number))
        own = self._stretch()
        if len(own) < -(-len(self.shards) // self.world_size) and skip <= len(own):
            yield StreamedDraw(Draw(epoch, 0, counts=False), None)

    def _stretch(self) -> range:
        """This process's share of the shuffled shards' samples, end to end."""
        size = len(self.shards)
        return range(size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size)

    def _places(self, epoch: int) -> Iterator[_Place]:
        """This process's samples in the order of reading."""
        order = list(range(len(self.shards.names)))
        random.Random(f"{self.seed}-{epoch}").shuffle(order)
        own = self._stretch()
        start = 0
        for shard in order:
            count = self.shards.starts[shard + 1] - self.shards.starts[shard]
            for number in range(max(start, own.start), min(start + count, own.stop)):
                yield _Place(number, shard, number - start)
            start += count

    def _read(self, places: Iterator[_Place]) -> Iterator[tuple[int, StoredSample]]:
        """The samples at places, which ascend; a shard is opened once, and where none is wanted not at all."""
        for shard, wanted in itertools.groupby(places, key=lambda place: place.shard):
            samples = enumerate(self.shards.read(shard))
            for place in wanted:
                for at, sample in samples:
                    if at == place.place:
                        yield place.number, sample
                        break


class _Shuffle:
    """Lets items pass through a buffer, each leaving it at random.

    Attributes:
        slots: What has entered and not left.
        entered: How many have entered.
    """

    def __init__(self, items: Iterator[_Place], size: int, seed: str) -> None:
        self.slots: list[_Place] = []
        self.entered = 0
        self._items = items
        self._size = size
        self._random = random.Random(seed)
        self._ended = False

    def __iter__(self) -> _Shuffle:
        return self

    def __next__(self) -> _Place:
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


class Streamed(Dataset[EncodedSample]):
    """Decodes what the order streams, as `Encoded` does for a dataset of random access.

    Args:
        pictures: Makes what the encoder is given of a dataset.
        tokenizer: As of `Encoded`, and so are the others.
        captions_per_image: How many captions are drawn; None for all.
        max_tokens: Longer captions are cut.
        seed: Decides what is drawn.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.
    """

    def __init__(
        self,
        pictures: Callable[[CaptionDataset], Pictures],
        tokenizer: Tokenizer,
        *,
        captions_per_image: int | None,
        max_tokens: int,
        seed: int,
        on_bad: OnBad,
    ) -> None:
        self.pictures = pictures
        self.tokenizer = tokenizer
        self.captions_per_image = captions_per_image
        self.max_tokens = max_tokens
        self.seed = seed
        self.on_bad: OnBad = on_bad

    def __getitem__(self, streamed: StreamedDraw) -> EncodedSample:
        one = _One(streamed.sample)
        pictures = self.pictures(one)
        if streamed.sample is None:
            return EncodedSample(pictures.blank(), (), streamed.draw.index)
        encoded = Encoded(
            one,
            pictures,
            self.tokenizer,
            captions_per_image=self.captions_per_image,
            max_tokens=self.max_tokens,
            seed=self.seed,
            on_bad=self.on_bad,
        )
        return encoded[streamed.draw]


class _One:
    """A dataset that has one sample, whatever it is asked for."""

    def __init__(self, sample: StoredSample | None) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> CaptionSample:
        if self.sample is None:
            raise DataError("a sample that only fills up has no captions")
        return CaptionSample(self.sample.id, self.sample.captions, None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        assert self.sample is not None
        if self.sample.fault is not None or self.sample.photo is None:
            raise ImageError(self.sample.fault or f"{self.sample.name} has no photo")
        return decode_named(NamedPhoto(self.sample.name, self.sample.photo), min_size)
