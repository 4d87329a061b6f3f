"""Tables of grounding and faithfulness for the terminal, and conversion of figures to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {
    "all": "all nouns that name an object in the photo",
    "small": "objects smaller than a quarter of the photo",
    "large": "objects of a quarter of the photo or more",
    "with absent": "all nouns, with those that name nothing in the photo as misses",
}
_PEAKS = {"peak_in_mask": "peak in mask", "peak_in_box": "peak in box", "above_centre": "above centre"}
_MEANS = {
    "mass_in_mask": "mass in mask",
    "mass_in_box": "mass in box",
    "iou_mask": "IoU mask",
    "iou_box": "IoU box",
}


def json_of(value: Any) -> Any:
    """The value with JSON types only: nan becomes null, a tuple a list."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(key): json_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(item) for item in value]
    return value


def percent(estimate: Mapping[str, float | None]) -> str:
    """An estimate as "24.1 [13.0, 36.4]", in percent."""
    if estimate["value"] is None:
        return "-"
    value, low, high = (100 * (estimate[key] or 0.0) for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def brief(estimate: Mapping[str, float | None]) -> str:
    """An estimate as "24.1 [13, 36]", shorter than `percent`."""
    if estimate["value"] is None:
        return "-"
    value, low, high = (100 * (estimate[key] or 0.0) for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.0f}, {high:.0f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column aligned left, the others right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    lines = []
    for first, *others in (head, *rows):
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def grounding_lines(summary: Mapping[str, Any]) -> list[str]:
    """The tables of grounding, in percent with 95 % intervals."""
    rows = summary["rows"]
    if not summary["annotated_images"]:
        return [
            "",
            f"grounding: none of the {summary['images_without_annotations']} photos is annotated in "
            f"{summary['annotations']}, which seems to belong to other images; set annotations= to those of this data",
        ]
    if not rows:
        return ["", "grounding: no caption names an object that is annotated in its photo", *_notes(summary)]
    lines = []
    for words, title in _TITLES.items():
        chosen = [row for row in rows if row["words"] == words]
        # Where all objects are small, the table of all nouns is enough.
        if not chosen or (words != "all" and summary["counts"][words] == summary["counts"]["all"]):
            continue
        lines += ["", f"{title} ({summary['counts'][words]} nouns); percent, with 95 % intervals over photos"]
        lines += table(
            ["", *_PEAKS.values(), *_MEANS.values(), "s a photo"],
            [
                [
                    row["method"],
                    *(percent(row[key]) for key in _PEAKS),
                    *(brief(row[key]) for key in _MEANS),
                    _seconds(summary["seconds_per_image"].get(row["method"])),
                ]
                for row in chosen
            ],
        )
    return [*lines, *_class_lines(summary), *_head_lines(summary), *_notes(summary)]


def _class_lines(summary: Mapping[str, Any]) -> list[str]:
    classes = [words for words in summary["counts"] if words not in _TITLES]
    if not classes:
        return []
    rows = {(row["words"], row["method"]): row for row in summary["rows"]}
    methods = list(dict.fromkeys(row["method"] for row in summary["rows"]))
    names = {"tiny": "under 3 % of the photo", "medium": "3 to 25 % of the photo"}
    lines = []
    for key, title in (_PEAKS | _MEANS).items():
        if key == "above_centre":  # the centre has a column of its own here
            continue
        cells = [
            [
                names.get(words, words),
                str(summary["counts"][words]),
                *(brief(rows[words, method][key]) for method in methods),
            ]
            for words in classes
        ]
        lines += ["", f"{title}, by size and word class", *table(["", "nouns", *methods], cells)]
    return lines


def _head_lines(summary: Mapping[str, Any]) -> list[str]:
    heads = summary["heads"]
    if not heads:
        return []
    cells = [
        [
            f"layer {layer}",
            _whole(heads["layers"][layer - 1]),
            _whole(heads["layers_small"][layer - 1]),
            " ".join(_whole(value).rjust(3) for value in of_layer),
            " ".join(_whole(value).rjust(3) for value in heads["heads_small"][layer - 1]),
        ]
        for layer, of_layer in enumerate(heads["heads"], start=1)
    ]
    layer, head = heads["best"]
    return [
        "",
        "attention by layer and head: peak in box",
        *table(["", "mean", "mean, small", "heads", "heads, small"], cells),
        f"best head: layer {layer}, head {head} (explain=attention:layer{layer}.head{head}); chosen on half of the "
        f"photos and measured on the other: {percent(heads['chosen'])}, small {percent(heads['chosen_small'])}",
    ]


def _whole(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _notes(summary: Mapping[str, Any]) -> list[str]:
    notes = []
    if summary["images_without_annotations"]:
        notes.append(f"{summary['images_without_annotations']} photos have no annotations and are left out")
    for key, what in (
        ("boxes_outside", "boxes outside their photo left out"),
        ("boxes_cut", "boxes cut at the edge of their photo"),
    ):
        if key in summary:
            notes.append(f"{summary[key]:,} {what}")
    if summary["nouns_cropped_away"]:
        notes.append(
            f"{summary['nouns_cropped_away']} nouns name objects outside the model's input (cropped away): "
            "they count as misses"
        )
    return ["", *notes] if notes else []


def faithfulness_lines(summary: Mapping[str, Any]) -> list[str]:
    """The table of deletion and insertion, with 95 % intervals."""
    if not summary["followed_nouns"]:
        return ["", "faithfulness: no noun to measure"]
    rows = [
        [
            row["method"],
            f"{row['deletion']['value']:.3f}",
            percent(row["deletion_beats_random"]) if row["deletion_beats_random"] else "",
            f"{row['insertion']['value']:.3f}",
            percent(row["insertion_beats_random"]) if row["insertion_beats_random"] else "",
            _seconds(row["seconds_per_image"]),
        ]
        for row in summary["rows"]
    ]
    return [
        "",
        f"faithfulness: area under a word's probability, {summary['followed_nouns']} nouns in "
        f"{summary['followed_images']} photos (deletion: lower is better, insertion: higher)",
        *table(
            [
                "",
                "deletion",
                "beats random, % of nouns",
                "insertion",
                "beats random, % of nouns",
                "s a photo",
            ],
            rows,
        ),
    ]
