"""Page of the worst and the best captions of a split, with overlays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.data.samples import CaptionDataset
from captioner.decoding import Search
from captioner.evaluation.captions import Record, caption_images
from captioner.evaluation.judges.judge import Case
from captioner.explain.methods import Method
from captioner.image.geometry import Box
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import PageWriter
from captioner.pipeline import CaptionPipeline


def choose(
    records: Sequence[Record], scores: Mapping[str, Mapping[str, float]], *, count: int
) -> list[Record]:
    """The worst half and the best half of `count` records, worst first, by CIDEr-D or else the first metric."""
    ranked = sorted(records, key=lambda record: _deciding_score(scores[record.image])[1])
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
    """Write the page. Its images are captioned once more, since the maps of the split were not kept.

    Args:
        path: The HTML file.
        chosen: The images, in order.
        scores: Each image's scores, by id and metric.
        pipeline: The model.
        dataset: The split.
        search: How captions are chosen.
        methods: How they are explained.
        batches: The batches in which a single process captions the split.
        title: Heading of the page.
    """
    with PageWriter(path, title=title) as page:
        for record in chosen:
            metric, value = _deciding_score(scores[record.image])
            boxes: dict[int, Sequence[Box]] = {}
            for finding in record.findings.values():
                boxes |= finding.boxes
            for case in _caption_again(record, pipeline, dataset, search, methods, batches):
                name = f"{record.image} · {metric} {value:.2f}"
                references = case.sample.captions
                page.add(PageEntry(case.photo.pixels, case.caption, name, references=references, boxes=boxes))


def _deciding_score(scores: Mapping[str, float]) -> tuple[str, float]:
    """The score by which captions are ranked: CIDEr-D, or the first there is."""
    name = "CIDEr-D" if "CIDEr-D" in scores else next(iter(scores))
    return name, scores[name]


def _caption_again(
    record: Record,
    pipeline: CaptionPipeline,
    dataset: CaptionDataset,
    search: Search,
    methods: Sequence[Method],
    batches: Sequence[range],
) -> list[Case]:
    """The image's caption with its maps; nothing if its photo can no longer be read."""
    cases = list(caption_images(pipeline, dataset, [record.index], search=search, methods=methods))
    if [case.caption.text for case in cases] == [record.caption]:
        return cases
    # Rounding depends on the batch, so between two captions of nearly equal score only the image's own batch decides
    # as it did before.
    batch = next(batch for batch in batches if record.index in batch)
    cases = list(caption_images(pipeline, dataset, batch, search=search, methods=methods))
    return [case for case in cases if case.index == record.index]
