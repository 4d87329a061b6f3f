"""Which captions are worst and which best, and where did their words look? A page of overlays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.data.samples import CaptionDataset
from captioner.decoding import Search
from captioner.evaluation.captions import Record, caption_images
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page
from captioner.pipeline import CaptionPipeline


def choose(
    records: Sequence[Record], scores: Mapping[str, Mapping[str, float]], *, count: int
) -> list[Record]:
    """The worst half and the best half of `count` records, by CIDEr-D, worst first."""
    ranked = sorted(records, key=lambda record: scores[record.image]["CIDEr-D"])
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
    title: str,
) -> None:
    """Write the page. Its captions are searched for once more, since no maps were kept of the split's."""
    write_page(
        path,
        (
            PageEntry(
                case.photo.pixels,
                case.caption,
                f"{record.image} · CIDEr-D {scores[record.image]['CIDEr-D']:.2f}",
                references=case.sample.captions,
                boxes={
                    word: boxes
                    for finding in record.findings.values()
                    for word, boxes in finding.boxes.items()
                },
            )
            for record in chosen
            for case in caption_images(pipeline, dataset, [record.index], search=search)
        ),
        title=title,
    )
