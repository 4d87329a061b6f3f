"""Output of an evaluation: scores.json, captions.jsonl and a printed table."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.evaluation.captions import Record
from captioner.files import json_text


def write_result(
    folder: Path,
    result: Mapping[str, Any],
    records: Sequence[Record],
    scores: Mapping[str, Mapping[str, float]],
) -> None:
    """Write scores.json and captions.jsonl, which has a line for each image and which `captioner.score` reads.

    Args:
        folder: Where the files go.
        result: The content of scores.json.
        records: The captions, in order.
        scores: Each image's scores, by id and metric.
    """
    with open(folder / "captions.jsonl", "w", encoding="utf-8") as file:
        for record in records:
            line = {
                "image": record.image,
                "caption": record.caption,
                "score": record.score,
                **json_numbers(scores[record.image]),
                **{name: finding.figures for name, finding in record.findings.items() if finding.figures},
            }
            file.write(json_text(line) + "\n")
    (folder / "scores.json").write_text(json_text(result, indent=2) + "\n", encoding="utf-8")


def json_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values with null for nan, which JSON lacks; the CIDEr of a single image is nan."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def print_result(result: Mapping[str, Any], folder: Path, *, groups: Sequence[str]) -> None:
    """Print the numbers of `groups` of the result as a table, then notes, speed and signature."""
    for name, value in (row for group in groups for row in result[group].items()):
        if value is None or isinstance(value, int | float):
            figure = (
                "undefined" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
            )
            print(f"{name:<30} {figure:>9}")
    if result["left_out"]:
        print(f"{result['left_out']} images could not be read and are left out", file=sys.stderr)
    for note in result["notes"]:
        print(note, file=sys.stderr)
    print(f"{result['images']} images at {result['images_per_second']:.1f} a second; {result['signature']}")
    print(f"scores {folder / 'scores.json'}")
