"""Markdown table of `compare_attention.py`: means over seeds, and its place in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

MARKS = ("<!-- attention by decoder -->", "<!-- end of attention by decoder -->")
COLUMNS = (
    ("BLEU-4", "BLEU-4", 1),
    ("CIDEr-D", "CIDEr-D", 1),
    ("true_captions", "true captions, %", 1),
    ("pointing_game", "pointing game, %", 1),
    ("visual_mass_of_nouns", "image mass of nouns, %", 0),
    ("visual_mass_of_function_words", "image mass of function words, %", 0),
    ("images_per_core_second", "images/s", 0),
)
"""Figure of a run, title of its column, and decimals."""


def markdown(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One table for all data sets.

    Args:
        results: By data set: rows with `decoder`, `attention`, and `runs`, the figures of each seed.

    Returns:
        Means over the seeds, with the standard deviation where there are several; empty cells for missing rows.
    """
    columns = [
        (data, key, f"{data}: {title}", digits)
        for data, rows in results.items()
        for key, title, digits in COLUMNS
        if any(key in run for row in rows for run in row["runs"])
    ]
    runs_of = {
        (row["decoder"], row["attention"], data): row["runs"]
        for data, rows in results.items()
        for row in rows
    }
    lines = [
        "| decoder | attention | " + " | ".join(title for _, _, title, _ in columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for decoder, attention in dict.fromkeys((decoder, attention) for decoder, attention, _ in runs_of):
        cells = []
        for data, key, _, digits in columns:
            values = [run[key] for run in runs_of.get((decoder, attention, data), ())]
            spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.{digits}f}{spread}" if values else "")
        lines.append(f"| {decoder} | {attention} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def insert(table: str, page: str) -> str:
    """The page with the text between its marks replaced by the table.

    Raises:
        SystemExit: If a mark is missing.
    """
    before, begin, rest = page.partition(f"{MARKS[0]}\n")
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise SystemExit(f"the page needs {MARKS[0]} and {MARKS[1]}, each on its own line, around the table")
    return f"{before}{begin}{table}{end}{after}"
