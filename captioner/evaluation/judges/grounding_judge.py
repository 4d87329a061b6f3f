"""Grounding of nouns in annotated objects, the best attention head, and CHAIR, over a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner.data.annotations.annotated_photo import AnnotatedPhoto
from captioner.data.annotations.nouns import coco_nouns
from captioner.evaluation.judges.annotations import CocoTruth, Known, SceneTruth, Truth
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.measures.chair import NamedObjects, chair
from captioner.evaluation.measures.grounding import Mention, ground
from captioner.evaluation.measures.heads import judge_heads
from captioner.evaluation.measures.naming import mention_of
from captioner.evaluation.tables import grounding_lines, json_of
from captioner.image.geometry import Box, ImageGeometry


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Data of one photo for the summary.

    Attributes:
        mentions: The nouns with their maps.
        objects: Counts for CHAIR; None if the annotations are phrases, which do not name all objects.
        seconds: By method.
        outside: Number of boxes outside the photo.
        clipped: Number of boxes clipped at its edge.
    """

    mentions: Sequence[Mention]
    objects: NamedObjects | None
    seconds: Mapping[str, float]
    outside: int
    clipped: int


class GroundingJudge:
    """Compares the maps of nouns with annotated objects.

    Args:
        truth: The annotations.
    """

    name = "grounding"

    def __init__(self, truth: Truth) -> None:
        self._truth = truth

    def judge(self, case: Case) -> Finding:
        """The nouns of a caption, the objects they name, and their maps."""
        known = self._truth.about(case)
        if known is None:
            return Finding({"annotated": False})
        mentions = [
            mention_of(named, known.photo, case.caption, image=case.sample.id) for named in known.names
        ]
        boxes: dict[int, Sequence[Box]] = {}
        for named in known.names:
            for word in range(named.start, named.end):
                boxes[word] = _on_photo(
                    [thing.box for thing in named.objects], known.photo, case.caption.geometry
                )
        figures = {
            "annotated": True,
            "names": [
                {"word": mention.text, "kind": mention.kind, "there": mention.present, "size": mention.size}
                for mention in mentions
            ],
        }
        objects = None
        if isinstance(self._truth, CocoTruth):
            objects = _coco_objects(known, case)
        elif isinstance(self._truth, SceneTruth):
            objects = _scene_objects(known)
        return Finding(
            figures,
            boxes,
            Kept(mentions, objects, case.seconds, known.photo.outside, known.photo.clipped),
        )

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """Tables of methods, baselines and heads; hallucination rates; seconds."""
        kept = [finding.kept for finding in findings if isinstance(finding.kept, Kept)]
        mentions = [mention for one in kept for mention in one.mentions]
        objects = [one.objects for one in kept if one.objects is not None]
        found = ground(mentions)
        heads = judge_heads(mentions)
        source = self._truth.source
        summary: dict[str, Any] = {
            "annotations": "" if source is None else str(source),
            "annotated_images": len(kept),
            "images_without_annotations": len(findings) - len(kept),
        }
        # For COCO, the reader reports them.
        for name, count in (
            ("boxes_outside", sum(one.outside for one in kept)),
            ("boxes_cut", sum(one.clipped for one in kept)),
        ):
            if count:
                summary[name] = count
        if objects:
            paper, marked = chair(objects), chair(objects, with_references=False)
            summary |= {"CHAIR-i": paper.chair_i, "CHAIR-s": paper.chair_s}
            if isinstance(self._truth, CocoTruth):
                summary |= {"CHAIR-i_marked_only": marked.chair_i, "CHAIR-s_marked_only": marked.chair_s}
        summary |= {
            "nouns_named_there": found.named,
            "nouns_named_absent": found.absent,
            "nouns_cropped_away": found.unseen,
            "counts": found.counts,
            "thresholds": found.thresholds,
            "rows": [asdict(row) for row in found.rows],
            "heads": asdict(heads) if heads else None,
            "best_head": {"layer": heads.best[0], "head": heads.best[1]} if heads else None,
            "seconds_per_image": {
                method: float(np.mean([one.seconds[method] for one in kept]))
                for method in (kept[0].seconds if kept else ())
            },
        }
        as_json: dict[str, Any] = json_of(summary)
        return as_json

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """The tables as text."""
        return grounding_lines(summary)


def _scene_objects(known: Known) -> NamedObjects:
    """Shapes are the categories, all annotated; a shape of the wrong colour or size is absent, not hallucinated."""
    return NamedObjects(
        names=tuple((named.kind,) for named in known.names),
        marked=frozenset(name for thing in known.photo.objects for name in thing.names),
        in_references=frozenset(),
    )


def _coco_objects(known: Known, case: Case) -> NamedObjects:
    said = [word.text for word in case.caption.words]
    in_references = [
        category
        for reference in case.sample.captions
        for noun in coco_nouns(reference.split())
        for category in noun.categories
    ]
    return NamedObjects(
        names=tuple(noun.categories for noun in coco_nouns(said)),
        marked=frozenset(name for thing in known.photo.objects for name in thing.names),
        in_references=frozenset(in_references),
    )


def _on_photo(boxes: Sequence[Box], photo: AnnotatedPhoto, geometry: ImageGeometry) -> list[Box]:
    """Boxes scaled from the annotated size to the photo's."""
    down, across = geometry.size[0] / photo.size[0], geometry.size[1] / photo.size[1]
    return [(top * down, left * across, bottom * down, right * across) for top, left, bottom, right in boxes]
