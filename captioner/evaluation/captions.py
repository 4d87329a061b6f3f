"""Captioning and judging of a split: text and figures of each image are kept, maps are not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from captioner.data.samples import CaptionDataset
from captioner.decoding import Search
from captioner.errors import ImageError, UsageError
from captioner.evaluation.distributed import ProcessGroup
from captioner.evaluation.judges.judge import Case, Finding, Judge
from captioner.evaluation.timing import TimedMethod
from captioner.explain.attention import Attention
from captioner.explain.methods import Method
from captioner.image.decode import Photo
from captioner.pipeline import CaptionPipeline


@dataclass(frozen=True, slots=True)
class Record:
    """The caption and the findings of one image.

    Attributes:
        index: Its place in the dataset.
        image: Its id.
        caption: The caption's text.
        score: The search's score (nats).
        findings: The finding of each judge, by the judge's name.
    """

    index: int
    image: str
    caption: str
    score: float
    findings: Mapping[str, Finding]


def caption_images(
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    indices: Sequence[int],
    *,
    search: Search,
    methods: Sequence[Method],
) -> Iterator[Case]:
    """Caption one batch of images; photos that cannot be read are reported and left out.

    Attention is always judged, so it is always among the timed methods.
    """
    photos: dict[int, Photo] = {}
    for index in indices:
        try:
            photos[index] = dataset.photo(index)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
    attention = () if any(method.name == "attention" for method in methods) else (Attention(),)
    timed = [TimedMethod(method) for method in (*methods, *attention)]
    for result in pipeline.caption_batches([list(photos.items())], search=search, methods=timed):
        assert result.caption is not None
        seconds = {method.name: method.seconds / len(photos) for method in timed}
        yield Case(result.index, dataset[result.index], photos[result.index], result.caption, seconds)


def caption_split(
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    size: int,
    *,
    search: Search,
    batch_size: int,
    judges: Sequence[Judge],
    methods: Sequence[Method],
    group: ProcessGroup,
) -> list[Record]:
    """Caption and judge this process's share of the first `size` images, in the order of the dataset.

    A batch holds the same images whatever the number of processes and of unreadable photos, so that captions are the
    same to the last bit.

    Raises:
        UsageError: `batch_size` is below 1.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
    records = []
    shows_progress = group.rank == 0 and sys.stderr.isatty()
    for indices in share(size, batch_size, group):
        for case in caption_images(pipeline, dataset, indices, search=search, methods=methods):
            findings = {judge.name: judge.judge(case) for judge in judges}
            records.append(
                Record(case.index, case.sample.id, case.caption.text, case.caption.score, findings)
            )
        if shows_progress:
            print(f"\r{indices[-1] + 1}/{size} images", end="", file=sys.stderr, flush=True)
    if shows_progress:
        print(file=sys.stderr)
    return records


def share(size: int, batch_size: int, group: ProcessGroup) -> list[range]:
    """The batches of this process: every `group.size`-th of those of a single process. There may be none."""
    return [
        range(begin, min(begin + batch_size, size))
        for begin in range(group.rank * batch_size, size, group.size * batch_size)
    ]


def in_order(parts: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of all processes, each image once, in the order of the dataset."""
    by_index = {record.index: record for part in parts for record in part}
    return [by_index[index] for index in sorted(by_index)]
