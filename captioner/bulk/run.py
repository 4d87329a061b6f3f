"""Captioning of parts in constant memory: an unreadable photo costs a line, a kill at most one batch."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from captioner.bulk.parts import OpenPart, Parts, PartSummary, names_digest, other_photos
from captioner.bulk.work import Item, Part
from captioner.captioning.caption_files import caption_fields
from captioner.captioning.records import CaptionRecord
from captioner.decoding import Search
from captioner.files import json_text
from captioner.image.photo_reader import GivenPhoto
from captioner.pipeline import CaptionPipeline
from captioner.prefetch import BusyClock, buffered, in_batches

_MOST_REPORTED = 5  # unreadable photos that standard error names; all are in the parts


@dataclass(slots=True)
class Progress:
    """What this process has done.

    Attributes:
        parts: Parts that it wrote, or found finished.
        captioned: Photos that it captioned.
        bad: Photos that could not be read.
        found: Photos that had been captioned before.
        seconds: Since it started.
        busy: Seconds in which a model computed.
    """

    parts: int = 0
    captioned: int = 0
    bad: int = 0
    found: int = 0
    seconds: float = 0.0
    busy: float = 0.0

    def speed(self) -> str:
        """Photos a second, and the share of the time in which the device was busy."""
        share = self.busy / max(1e-9, self.seconds)
        done = self.captioned + self.bad
        return f"{done / max(1e-9, self.seconds):.1f} photos/s, device busy {share:.1%} of the time"


def caption_parts(
    pipeline: CaptionPipeline,
    work: Iterable[Part],
    parts: Parts,
    *,
    search: Search,
    batch_size: int,
    readers: int,
) -> Progress:
    """Caption all parts that are not finished, and report each on standard error.

    Reading, encoding, decoding and writing overlap.

    Args:
        pipeline: The model.
        work: This process's parts; taken one at a time.
        parts: Where they are written.
        search: How captions are chosen.
        batch_size: Photos encoded and decoded at once.
        readers: Threads that read ahead.

    Raises:
        UsageError: If a part was made from other photos, or another process writes it.
        CaptionerError: If a part cannot be written.
    """
    feed = _Feed(work, parts, batch_size)
    busy, start = BusyClock(), time.monotonic()
    batches = pipeline.records(feed, search=search, readers=readers, busy=busy)
    with closing(buffered(batches, 2)) as batches_captioned:
        for records in batches_captioned:
            feed.finish_parts()
            part, items = feed.pending.popleft()
            assert part is not None
            part.write([_line(item, record) for item, record in zip(items, records, strict=True)])
            for record in records:
                if record.error is not None:
                    _report_unreadable(record, feed.progress.bad)
                    feed.progress.bad += 1
                else:
                    feed.progress.captioned += 1
            feed.progress.seconds, feed.progress.busy = time.monotonic() - start, busy.seconds
    feed.finish_parts()
    feed.progress.seconds, feed.progress.busy = time.monotonic() - start, busy.seconds
    return feed.progress


class _Feed:
    """Batches for the model, each with photos of one part.

    Attributes:
        pending: The part and the photos of each batch that is not written yet; None in place of the part ends one.
        progress: What was done so far.
    """

    def __init__(self, work: Iterable[Part], parts: Parts, batch_size: int) -> None:
        self.work = work
        self.parts = parts
        self.batch_size = batch_size
        self.progress = Progress()
        self.pending: deque[tuple[OpenPart | None, list[Item]]] = deque()
        self._open: deque[OpenPart] = deque()

    def __iter__(self) -> Iterator[list[tuple[int, GivenPhoto]]]:
        for part in self.work:
            state = self.parts.begin(part.number, self.batch_size)
            if isinstance(state, PartSummary):
                self._count_finished(part, state)
                continue
            self._open.append(state)
            items = iter(part.items)
            for name in state.kept:
                item = next(items, None)
                if item is None or item.name != name:
                    raise other_photos(state.path)
            self.progress.found += len(state.kept)
            for batch in in_batches(items, self.batch_size):
                self.pending.append((state, batch))
                yield [(item.number, item.given) for item in batch]
            self.pending.append((None, []))

    def finish_parts(self) -> None:
        """Finish the parts whose batches are all written."""
        while self.pending and self.pending[0][0] is None:
            self.pending.popleft()
            summary = self._open.popleft().finish()
            self.parts.note(summary)
            self.progress.parts += 1
            bad = f", {summary.errors:,} bad" if summary.errors else ""
            print(
                f"part {summary.part}: {summary.photos:,} photos{bad}; {self.progress.speed()}",
                file=sys.stderr,
                flush=True,
            )

    def _count_finished(self, part: Part, summary: PartSummary) -> None:
        # The names of a list are known, so they are compared with the part; a finished shard is not read again.
        if isinstance(part.items, list) and names_digest(item.name for item in part.items) != summary.names:
            raise other_photos(self.parts.folder / "parts" / summary.part)
        self.progress.parts += 1
        self.progress.found += summary.photos


def _line(item: Item, record: CaptionRecord) -> str:
    if record.error is not None:
        return json_text({"image": item.name, "error": str(record.error)})
    return json_text(caption_fields(item.name, record))


def _report_unreadable(record: CaptionRecord, before: int) -> None:
    if before < _MOST_REPORTED:
        print(f"error: {record.error}", file=sys.stderr, flush=True)
    elif before == _MOST_REPORTED:
        print("further unreadable photos are reported in the parts only", file=sys.stderr, flush=True)
