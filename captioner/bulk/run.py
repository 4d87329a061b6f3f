"""How are very many photos captioned? Part after part, in flat memory; a bad photo costs a line, a kill a batch."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from captioner.bulk.parts import OpenPart, Parts, PartSummary, names_digest, other_photos
from captioner.bulk.tell import CaptionRecord, Given, tell
from captioner.bulk.work import Item, Part
from captioner.decoding import Search
from captioner.files import json_text
from captioner.pipeline import CaptionPipeline
from captioner.prefetch import Busy, buffered, in_batches

_SHOWN = 5  # bad photos of a part that are named on standard error; all are in the part


@dataclass(slots=True)
class Progress:
    """What this process has done.

    Attributes:
        parts: Parts it wrote, or found finished.
        captioned: Photos it captioned itself.
        bad: Photos that could not be read, among those.
        found: Photos that were captioned when it came to them.
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
    """Caption all parts that are not finished, and tell of each on standard error.

    Args:
        pipeline: The model.
        work: This process's parts; taken one at a time.
        parts: Where they are written.
        search: How captions are chosen.
        batch_size: Photos encoded and decoded at once.
        readers: Threads that read ahead.

    Raises:
        UsageError: If a part was made from other photos, or another process writes it.
        CaptionerError: If the disk refuses.
    """
    feed = _Feed(work, parts, batch_size)
    busy, start = Busy(), time.monotonic()
    results = tell(pipeline, feed, search=search, readers=readers, busy=busy)
    with closing(buffered(results, 2)) as told:
        for batch in told:
            feed.finish_parts()
            part, items = feed.pending.popleft()
            assert part is not None
            part.write([_line(item, one) for item, one in zip(items, batch, strict=True)])
            for item, one in zip(items, batch, strict=True):
                if one.error is not None:
                    _tell_of(item, one, feed.progress.bad)
                    feed.progress.bad += 1
                else:
                    feed.progress.captioned += 1
            feed.progress.seconds, feed.progress.busy = time.monotonic() - start, busy.seconds
    feed.finish_parts()
    feed.progress.seconds, feed.progress.busy = time.monotonic() - start, busy.seconds
    return feed.progress


class _Feed:
    """Gives batches to the model, none of photos of two parts, and remembers what each is of."""

    def __init__(self, work: Iterable[Part], parts: Parts, batch_size: int) -> None:
        self.work = work
        self.parts = parts
        self.batch_size = batch_size
        self.progress = Progress()
        self.pending: deque[tuple[OpenPart | None, list[Item]]] = deque()
        self._open: deque[OpenPart] = deque()

    def __iter__(self) -> Iterator[list[tuple[int, Given]]]:
        for part in self.work:
            state = self.parts.begin(part.number, self.batch_size)
            if isinstance(state, PartSummary):
                self._found(part, state)
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
        """Finish the parts all of whose batches are written."""
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

    def _found(self, part: Part, summary: PartSummary) -> None:
        # A list is at hand, so it can be held against the part; a finished shard is not read again.
        if isinstance(part.items, list) and names_digest(item.name for item in part.items) != summary.names:
            raise other_photos(self.parts.folder / "parts" / summary.part)
        self.progress.parts += 1
        self.progress.found += summary.photos


def _line(item: Item, told: CaptionRecord) -> str:
    if told.error is not None:
        return json_text({"image": item.name, "error": str(told.error)})
    return json_text(
        {
            "image": item.name,
            "caption": told.text,
            "score": told.score,
            "logprob": told.logprob,
            "others": [{"caption": other.text, "score": other.logprob} for other in told.others],
        }
    )


def _tell_of(item: Item, told: CaptionRecord, bad: int) -> None:
    if bad < _SHOWN:
        print(f"error: {told.error}", file=sys.stderr, flush=True)
    elif bad == _SHOWN:
        print(
            "further photos that cannot be read are told of in the parts alone", file=sys.stderr, flush=True
        )
