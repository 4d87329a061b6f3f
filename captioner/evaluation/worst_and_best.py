"""Which captions are worst and which best, and where did their words look? A page of overlays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from captioner.data.samples import CaptionDataset
from captioner.decoding import Search
from captioner.evaluation.captions import Record, caption_images
from captioner.evaluation.judges.judge import Case
from captioner.explain.methods import Method
from captioner.image.geometry import Box
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page
from captioner.pipeline import CaptionPipeline


def choose(
    records: Sequence[Record], scores: Mapping[str, Mapping[str, float]], *, count: int
) -> list[Record]:
    """The worst half and the best half of `count` records, worst first; see `_figure` for what decides."""
    ranked = sorted(records, key=lambda record: _figure(scores[record.image])[1])
    worst, best = math.ceil(count / 2), count // 2
    return [*ranked[:worst], *ranked[max(worst, len(ranked) - best) :]]


def write_worst_and_best(
    path: Path,
    chosen: Sequence[Record],
    scores: Mapping[str, Mapping[str, float]],
    *,
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    search: Search,
    methods: Sequence[Method],
    batches: Sequence[range],
    title: str,
) -> None:
    """Write the page. Its captions are searched for once more, since no maps were kept of the split's.

    `batches` are those of one process alone, as the split was captioned.
    """

    def entries() -> Iterator[PageEntry]:
        for record in chosen:
            for case in _again(record, pipeline, dataset, search, methods, batches):
                metric, value = _figure(scores[record.image])
                boxes: dict[int, Sequence[Box]] = {}
                for finding in record.findings.values():
                    boxes |= finding.boxes
                yield PageEntry(
                    case.photo.pixels,
                    case.caption,
                    f"{record.image} · {metric} {value:.2f}",
                    references=case.sample.captions,
                    boxes=boxes,
                )

    write_page(path, entries(), title=title)


def _figure(scores: Mapping[str, float]) -> tuple[str, float]:
    """The figure by which captions are ranked: CIDEr-D, or the first there is."""
    name = "CIDEr-D" if "CIDEr-D" in scores else next(iter(scores))
    return name, scores[name]


def _again(
    record: Record,
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    search: Search,
    methods: Sequence[Method],
    batches: Sequence[range],
) -> list[Case]:
    """The image's caption with its maps; nothing where the photo has gone since."""
    cases = list(caption_images(pipeline, dataset, [record.index], search=search, methods=methods))
    if [case.caption.text for case in cases] == [record.caption]:
        return cases
    # Alone it rounds a little differently: between two captions as good as equal, only its own batch decides alike.
    batch = next(batch for batch in batches if record.index in batch)
    cases = list(caption_images(pipeline, dataset, batch, search=search, methods=methods))
    return [case for case in cases if case.index == record.index]
