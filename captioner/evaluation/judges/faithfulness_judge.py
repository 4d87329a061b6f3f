"""Faithfulness of explanation methods: deletion and insertion curves over the nouns of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.decoding.hypotheses import special_tokens
from captioner.evaluation.judges.annotations import Truth, said
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.measures.curve_plot import Panel, plot_curves
from captioner.evaluation.measures.faithfulness import RANDOM, STEPS, Curves, Orders, follow
from captioner.evaluation.measures.intervals import Bootstrap
from captioner.evaluation.tables import faithfulness_lines, json_of
from captioner.pipeline import CaptionPipeline


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """Data of one photo for the summary.

    Attributes:
        image: Its id.
        curves: Curves of each noun, by method.
        seconds: By method.
    """

    image: str
    curves: Sequence[Mapping[str, Curves]]
    seconds: Mapping[str, float]


class FaithfulnessJudge:
    """Measures the probability of nouns while patches of the photo are covered.

    Args:
        truth: Says which words are nouns; for an annotated photo only nouns that name an object in it count.
        pipeline: The model.
        images: Number of images to measure, from the first.
    """

    name = "faithfulness"

    def __init__(self, truth: Truth, pipeline: CaptionPipeline, *, images: int) -> None:
        self._truth = truth
        self._pipeline = pipeline
        self._images = images

    def judge(self, case: Case) -> Finding:
        """The curves of one caption's nouns."""
        if case.index >= self._images:
            return Finding({})
        tokenizer = self._pipeline.model.tokenizer
        ids = tokenizer.encode(case.caption.text)
        spans = tokenizer.words(ids)
        if [span.text for span in spans] != said(case.caption):
            return Finding(
                {"not_followed": "the caption's text encodes to other tokens than those of the search"}
            )
        nouns = self._nouns(case)
        if not nouns:
            return Finding({"nouns": []})
        explanations = {"attention": case.caption.explanation("attention"), **case.caption.explanations}
        words = [
            Orders(
                (spans[start].start, spans[end - 1].end),
                {method: one.values[start:end].mean(axis=0) for method, one in explanations.items()},
            )
            for start, end in nouns
        ]
        pixels, _ = self._pipeline.model.transform(case.photo)
        found = follow(
            self._pipeline.model.captioner,
            pixels.to(self._pipeline.device),
            torch.tensor([*ids, tokenizer.eos_id], device=self._pipeline.device),
            words,
            special=special_tokens(tokenizer),
            cells=case.caption.geometry.cells,
            grid=(case.caption.maps.shape[-2], case.caption.maps.shape[-1]),
            seed=case.index,
        )
        figures = [
            {
                "word": " ".join(said(case.caption)[start:end]),
                "areas": {
                    method: [curves.deletion_area, curves.insertion_area]
                    for method, curves in of_word.items()
                },
            }
            for (start, end), of_word in zip(nouns, found, strict=True)
        ]
        return Finding({"nouns": figures}, kept=Followed(case.sample.id, found, case.seconds))

    def _nouns(self, case: Case) -> list[tuple[int, int]]:
        known = self._truth.about(case)
        if known is None:
            return self._truth.nouns(case)
        return [(named.start, named.end) for named in known.names if named.objects]

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """Areas, shares of nouns for which a method beats random order, and mean curves."""
        kept = [finding.kept for finding in findings if isinstance(finding.kept, Followed)]
        words = [(one.image, of_word) for one in kept for of_word in one.curves]
        rows = []
        if words:
            means = Bootstrap([image for image, _ in words]).means
            every = np.ones(len(words), dtype=bool)
            areas = {
                method: np.array(
                    [[curves[method].deletion_area, curves[method].insertion_area] for _, curves in words]
                )
                for method in words[0][1]
            }
            for method, own in areas.items():
                beats = np.stack([own[:, 0] < areas[RANDOM][:, 0], own[:, 1] > areas[RANDOM][:, 1]], axis=1)
                deletion, insertion, less, more = means(np.concatenate([own, beats], axis=1), every)
                spent = [one.seconds[method] for one in kept if method in one.seconds]
                rows.append(
                    {
                        "method": method,
                        "deletion": asdict(deletion),
                        "insertion": asdict(insertion),
                        "deletion_beats_random": None if method == RANDOM else asdict(less),
                        "insertion_beats_random": None if method == RANDOM else asdict(more),
                        "seconds_per_image": float(np.mean(spent)) if spent else None,
                        "deletion_curve": _mean([curves[method].deletion for _, curves in words]),
                        "insertion_curve": _mean([curves[method].insertion for _, curves in words]),
                    }
                )
        summary: dict[str, Any] = json_of(
            {"followed_images": len(kept), "followed_nouns": len(words), "rows": rows}
        )
        return summary

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """The table as text; writes faithfulness.svg into the folder."""
        if summary["followed_nouns"]:
            shares = np.linspace(0, 1, STEPS + 1).tolist()
            panels = [
                Panel(
                    title,
                    axis,
                    "probability of the word",
                    shares,
                    {
                        f"{row['method']} ({row[key]['value']:.3f})": row[f"{key}_curve"]
                        for row in summary["rows"]
                    },
                )
                for key, title, axis in (
                    ("deletion", "Deletion: lower is better", "share of the photo covered"),
                    ("insertion", "Insertion: higher is better", "share of the photo uncovered"),
                )
            ]
            (folder / "faithfulness.svg").write_text(plot_curves(panels), encoding="utf-8")
        return faithfulness_lines(summary)


def _mean(curves: Sequence[NDArray[np.float64]]) -> list[float]:
    values: list[float] = np.mean(curves, axis=0).tolist()
    return values
