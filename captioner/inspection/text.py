"""What was found, as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from captioner.inspection.check import CheckUp
from captioner.inspection.findings import MEANINGS

_LINES = 5  # of each kind; the page has more, findings.jsonl all
_BAR = 30  # characters
SIDES = (0, 64, 128, 224, 256, 320, 384, 512, 768, 1024, 2048)
"""Where the bars of the photos' shorter sides begin, in pixels."""

WORDS = (0, 1, 3, 5, 7, 9, 11, 13, 15, 18, 21, 26, 31, 41, 51)
"""Where the bars of the captions' lengths begin, in words."""


def report_text(found: CheckUp) -> str:
    """The whole report, ready to print."""
    return "\n".join(_lines(found)) + "\n"


def verdict(found: CheckUp) -> str:
    """One sentence that says how it stands."""
    serious = [kind for kind in found.findings if MEANINGS[kind].serious]
    if serious:
        return "Serious: " + ", ".join(
            f"{MEANINGS[kind].title.lower()} ({found.count(kind):,})" for kind in serious
        )
    number = len(found.findings)
    odd = f"; oddities of {number} kind{'s' if number > 1 else ''}" if number else " and nothing odd"
    return f"Nothing serious{odd}"


def split_lines(found: CheckUp) -> list[tuple[str, str]]:
    """Each split's name, and what it holds."""
    lines = []
    for split, dataset in found.datasets.items():
        captions = sum(len(dataset[index].captions) for index in range(len(dataset)))
        report = getattr(dataset, "report", None)
        lines.append(
            (split, report.summary() if report else f"{len(dataset):,} images, {captions:,} captions")
        )
    return lines


def binned(counts: Counter[int], edges: tuple[int, ...]) -> list[tuple[str, int]]:
    """Name and height of each bar of a histogram, the empty ones at both ends left out."""
    heights = [0] * len(edges)
    for value, number in counts.items():
        heights[max(place for place, edge in enumerate(edges) if edge <= value)] += number
    filled = [place for place, height in enumerate(heights) if height]
    if not filled:
        return []
    names = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    bars = list(zip([*names, f"{edges[-1]}+"], heights, strict=True))
    return bars[filled[0] : filled[-1] + 1]


def _lines(found: CheckUp) -> Iterator[str]:
    yield f"{found.name}: {verdict(found)}"
    yield ""
    for split, summary in split_lines(found):
        yield f"  {split:<6} {summary}"
    for kind, findings in found.findings.items():
        meaning = MEANINGS[kind]
        yield ""
        mark = "!" if meaning.serious else "·"
        yield f"{mark} {meaning.title}: {found.count(kind):,}"
        yield f"    {meaning.advice}"
        yield from (f"    - {' '.join(finding.text.split())}" for finding in findings[:_LINES])
        if len(findings) > _LINES:
            yield f"    … and {len(findings) - _LINES:,} more, in findings.jsonl"
    for title, bars in (
        ("Shorter side of the photos, pixels", binned(found.sides, SIDES)),
        ("Words in a caption", binned(found.captions.lengths, WORDS)),
    ):
        yield ""
        yield title
        most = max((height for _, height in bars), default=1)
        for name, height in bars:
            yield f"  {name:>9} {'█' * round(height / most * _BAR):<{_BAR}} {height:,}"
    if found.captions.unknown:
        yield ""
        yield "Unknown words, by size of the vocabulary (words of the training captions, most frequent first)"
        splits = list(found.captions.unknown[0].rates)
        yield "  " + "".join(f"{name:>12}" for name in ("words", "min_count", *splits))
        for row in found.captions.unknown:
            rates = "".join(f"{row.rates[split]:>12.2%}" for split in splits)
            yield f"  {row.words:>12,}{row.min_count:>12}{rates}"
