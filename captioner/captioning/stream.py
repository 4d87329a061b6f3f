"""Captioning of a stream of photos, batch after batch in constant memory, in the order given.

`caption_stream` gives captions with words and maps. `record_stream` gives texts alone, as fast as photos can be read:
reading, encoding and decoding overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from captioner.caption import Caption
from captioner.captioning.engine import CaptioningEngine
from captioner.captioning.records import CaptionRecord, CaptionResult, caption_records
from captioner.decoding import Search
from captioner.explain.methods import Method
from captioner.image.photo_reader import GivenPhoto, PhotoReader, ReadPhoto, UnreadablePhoto
from captioner.image.transforms import same_size
from captioner.models.captioner import Memory
from captioner.prefetch import BusyClock, buffered, read_ahead

Batches = Iterable[Sequence[tuple[int, GivenPhoto]]]
"""Numbered photos, encoded and decoded together. The numbers decide what a search that samples draws."""


def caption_stream(
    engine: CaptioningEngine,
    reader: PhotoReader,
    batches: Batches,
    *,
    search: Search,
    methods: Sequence[Method],
    readers: int = 0,
) -> Iterator[CaptionResult]:
    """Captions with words and maps, one photo after the other.

    Args:
        engine: The models.
        reader: Reads and transforms a photo for each of them.
        batches: Taken as they are needed.
        search: How captions are chosen.
        methods: How they are explained, checked against the model.
        readers: Threads that read the next two batches meanwhile; 0 reads in this one.
    """
    with closing(read_ahead(batches, reader, readers=readers)) as batches_read:
        for photos in batches_read:
            captions: dict[int, Caption] = {}
            for group in _groups(photos):
                captions |= zip(
                    (photo.index for photo in group),
                    engine.caption(
                        engine.stack([photo.inputs for photo in group]),
                        [photo.geometry for photo in group],
                        search=search,
                        methods=methods,
                        numbers=[photo.index for photo in group],
                    ),
                    strict=True,
                )
            for photo in photos:
                if isinstance(photo, UnreadablePhoto):
                    yield CaptionResult(photo.index, None, None, photo.error)
                else:
                    yield CaptionResult(photo.index, photo.photo, captions[photo.index], None)


def record_stream(
    engine: CaptioningEngine,
    reader: PhotoReader,
    batches: Batches,
    *,
    search: Search,
    readers: int = 0,
    busy: BusyClock | None = None,
) -> Iterator[list[CaptionRecord]]:
    """Captions without words and maps, the records of one batch after the other.

    One thread encodes the next batch while this one decodes.

    Args:
        engine: The models.
        reader: Reads and transforms a photo for each of them.
        batches: Taken as they are needed.
        search: How captions are chosen.
        readers: Threads that read the next two batches meanwhile; 0 reads in the thread that encodes.
        busy: Counts the time in which a model computes.
    """
    busy = busy or BusyClock()
    with closing(buffered(_encoded(engine, reader, batches, readers, busy))) as batches_encoded:
        for batch in batches_encoded:
            records: dict[int, CaptionRecord] = {}
            for numbers, memories in batch.groups:
                with busy():
                    hypotheses = engine.search(memories, search, numbers=numbers)
                records |= zip(numbers, caption_records(hypotheses, numbers, engine.tokenizer), strict=True)
            for unreadable in batch.unreadable:
                records[unreadable.index] = CaptionRecord(
                    unreadable.index, None, 0.0, 0.0, (), unreadable.error
                )
            yield [records[number] for number in batch.numbers]


@dataclass(frozen=True, slots=True, eq=False)
class _EncodedBatch:
    """A batch without its pixels.

    Attributes:
        numbers: Of all photos, in the order given.
        groups: The numbers of the photos of each input size, and their memories by each model.
        unreadable: The photos that cannot be read.
    """

    numbers: list[int]
    groups: list[tuple[list[int], list[Memory]]]
    unreadable: list[UnreadablePhoto]


def _encoded(
    engine: CaptioningEngine,
    reader: PhotoReader,
    batches: Batches,
    readers: int,
    busy: BusyClock,
) -> Iterator[_EncodedBatch]:
    with closing(read_ahead(batches, reader, readers=readers)) as batches_read:
        for photos in batches_read:
            groups = []
            for group in _groups(photos):
                with busy():
                    memories = engine.encode(engine.stack([photo.inputs for photo in group]))
                groups.append(([photo.index for photo in group], memories))
            unreadable = [photo for photo in photos if isinstance(photo, UnreadablePhoto)]
            yield _EncodedBatch([photo.index for photo in photos], groups, unreadable)


def _groups(photos: Sequence[ReadPhoto | UnreadablePhoto]) -> list[list[ReadPhoto]]:
    """The readable photos of a batch by the size of their inputs: those of one size make one tensor."""
    readable = [photo for photo in photos if isinstance(photo, ReadPhoto)]
    return [[readable[place] for place in places] for places in same_size([p.inputs for p in readable])]
