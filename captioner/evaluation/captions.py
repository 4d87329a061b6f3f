"""What does the model say of each image of a split? Captions them, and keeps of each only text and figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from captioner.data.samples import CaptionDataset
from captioner.decoding import Search
from captioner.errors import ImageError, UsageError
from captioner.evaluation.distributed import Team
from captioner.evaluation.judges.judge import Case, Finding, Judge
from captioner.evaluation.timing import TimedMethod
from captioner.explain.attention import Attention
from captioner.explain.methods import Method
from captioner.image.decode import Photo
from captioner.pipeline import CaptionPipeline


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one image, without its maps.

    Attributes:
        index: Its place in the dataset.
        image: Its id.
        caption: The caption's text.
        score: The search's score (nats).
        findings: What each judge found, by the judge's name.
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

    Attention is always among what is judged, so it is always timed.
    """
    readable: list[tuple[int, Photo]] = []
    for index in indices:
        try:
            readable.append((index, dataset.photo(index)))
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
    photos = [photo for _, photo in readable]
    attention = () if any(method.name == "attention" for method in methods) else (Attention(),)
    timed = [TimedMethod(method) for method in (*methods, *attention)]
    numbered = search.for_images([index for index, _ in readable])
    results = pipeline.stream(photos, search=numbered, batch_size=max(1, len(photos)), explain=timed)
    for (index, photo), result in zip(readable, results, strict=True):
        assert result.caption is not None
        seconds = {method.name: method.seconds / len(photos) for method in timed}
        yield Case(index, dataset[index], photo, result.caption, seconds)


def caption_split(
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    size: int,
    *,
    search: Search,
    batch_size: int,
    judges: Sequence[Judge],
    methods: Sequence[Method],
    team: Team,
) -> list[Record]:
    """Caption and judge this process's share of the first `size` images, in the order of the dataset.

    A batch holds the same images however many processes there are and however many photos can be read, so that
    captions are the same to the last bit.

    Raises:
        UsageError: `batch_size` is below 1.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
    records = []
    shows_progress = team.rank == 0 and sys.stderr.isatty()
    for indices in share(size, batch_size, team):
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


def share(size: int, batch_size: int, team: Team) -> list[range]:
    """The batches of this process: every so many-th of those of one process alone. There may be none."""
    return [
        range(begin, min(begin + batch_size, size))
        for begin in range(team.rank * batch_size, size, team.size * batch_size)
    ]


def in_order(parts: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of all processes, each image once, in the order of the dataset."""
    by_index = {record.index: record for part in parts for record in part}
    return [by_index[index] for index in sorted(by_index)]
