"""Report of an inspection as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from captioner.inspection.check import CheckUp
from captioner.inspection.findings import MEANINGS

_MAX_LINES = 5  # of each kind; the page has more, findings.jsonl all
_BAR = 30  # characters
SIDES = (0, 64, 128, 224, 256, 320, 384, 512, 768, 1024, 2048)
"""Lower edges of the histogram of the photos' shorter sides, in pixels."""

WORDS = (0, 1, 3, 5, 7, 9, 11, 13, 15, 18, 21, 26, 31, 41, 51)
"""Lower edges of the histogram of the captions' lengths, in words."""


def report_text(result: CheckUp) -> str:
    """The whole report, ready to print."""
    return "\n".join(_lines(result)) + "\n"


def verdict(result: CheckUp) -> str:
    """The verdict in one sentence."""
    serious = [kind for kind in result.findings if MEANINGS[kind].serious]
    if serious:
        return "Serious: " + ", ".join(
            f"{MEANINGS[kind].title.lower()} ({result.count(kind):,})" for kind in serious
        )
    number = len(result.findings)
    minor = f"{number} kind{'s' if number > 1 else ''} of minor findings" if number else "no findings"
    return f"Nothing serious; {minor}"


def split_lines(result: CheckUp) -> list[tuple[str, str]]:
    """Each split's name and summary."""
    lines = []
    for split, dataset in result.datasets.items():
        captions = sum(len(dataset[index].captions) for index in range(len(dataset)))
        report = getattr(dataset, "report", None)
        lines.append(
            (split, report.summary() if report else f"{len(dataset):,} images, {captions:,} captions")
        )
    return lines


def binned(counts: Counter[int], edges: tuple[int, ...]) -> list[tuple[str, int]]:
    """Label and height of each bar of a histogram, without empty bars at both ends."""
    heights = [0] * len(edges)
    for value, number in counts.items():
        heights[max(bar for bar, edge in enumerate(edges) if edge <= value)] += number
    filled = [bar for bar, height in enumerate(heights) if height]
    if not filled:
        return []
    names = [str(low) if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    bars = list(zip([*names, f"{edges[-1]}+"], heights, strict=True))
    return bars[filled[0] : filled[-1] + 1]


def _lines(result: CheckUp) -> Iterator[str]:
    yield f"{result.name}: {verdict(result)}"
    yield ""
    for split, summary in split_lines(result):
        yield f"  {split:<6} {summary}"
    for kind, findings in result.findings.items():
        meaning = MEANINGS[kind]
        yield ""
        mark = "!" if meaning.serious else "·"
        yield f"{mark} {meaning.title}: {result.count(kind):,}"
        yield f"    {meaning.advice}"
        yield from (f"    - {' '.join(finding.text.split())}" for finding in findings[:_MAX_LINES])
        if len(findings) > _MAX_LINES:
            yield f"    … and {len(findings) - _MAX_LINES:,} more, in findings.jsonl"
    for title, bars in (
        ("Shorter side of the photos, pixels", binned(result.sides, SIDES)),
        ("Words in a caption", binned(result.captions.lengths, WORDS)),
    ):
        yield ""
        yield title
        most = max((height for _, height in bars), default=1)
        for name, height in bars:
            yield f"  {name:>9} {'█' * round(height / most * _BAR):<{_BAR}} {height:,}"
    if result.captions.unknown:
        yield ""
        yield "Unknown words, by size of the vocabulary (words of the training captions, most frequent first)"
        splits = list(result.captions.unknown[0].rates)
        yield "  " + "".join(f"{name:>12}" for name in ("words", "min_count", *splits))
        for row in result.captions.unknown:
            rates = "".join(f"{row.rates[split]:>12.2%}" for split in splits)
            yield f"  {row.words:>12,}{row.min_count:>12}{rates}"
