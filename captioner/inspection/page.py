"""Report of an inspection as a self-contained page without scripts."""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterator
from importlib import resources

from captioner.inspection.check import CheckUp
from captioner.inspection.findings import MEANINGS, Finding, Kind
from captioner.inspection.sheet import small_picture
from captioner.inspection.text import SIDES, WORDS, binned, split_lines, verdict
from captioner.overlay.entries import jpeg_uri
from captioner.overlay.viewer.assets import asset

_MAX_LINES = 100  # of a kind
_MAX_PHOTOS = 6  # of one finding


def report_page(result: CheckUp, *, tiles: int) -> str:
    """The page.

    Args:
        result: The results of the inspection.
        tiles: Findings of a kind that are shown with their photos.

    Returns:
        HTML; all text from files is escaped.
    """
    style = asset("viewer.css") + resources.files(__package__).joinpath("page.css").read_text(
        encoding="utf-8"
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(f"{result.name}: data report")
    rows = "".join(
        f"<tr><th>{_text(split)}</th><td>{_text(what)}</td></tr>" for split, what in split_lines(result)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header class="top">
<h1>{title}</h1>
<p class="lead">Every photo was read and every caption compared with the others. Serious findings come first, marked by
“!”; findings.jsonl lists all.</p>
<p class="verdict">{_text(verdict(result))}</p>
<div class="scroll"><table>{rows}</table></div>
</header>
<main>
{"".join(_section(result, kind, findings, tiles) for kind, findings in result.findings.items())}
<div class="charts">
{_chart("Shorter side of the photos", "pixels", result.sides, SIDES)}
{_chart("Length of the captions", "words", result.captions.lengths, WORDS)}
</div>
{_unknown_words(result)}
</main>
</body>
</html>
"""


def _text(value: str) -> str:
    return html.escape(" ".join(value.split()))


def _section(result: CheckUp, kind: Kind, findings: list[Finding], tiles: int) -> str:
    meaning = MEANINGS[kind]
    if meaning.photos:
        shown = findings[:tiles]
        body = f'<ul class="tiles">{"".join(_tile(result, finding) for finding in shown)}</ul>'
    else:
        shown = findings[:_MAX_LINES]
        items = "".join(f'<li dir="auto">{_text(finding.text)}</li>' for finding in shown)
        body = f'<ul class="found">{items}</ul>'
    rest = len(findings) - len(shown)
    more = f'<p class="lead">… and {rest:,} more, in findings.jsonl.</p>' if rest else ""
    return f"""<section{' class="serious"' if meaning.serious else ""}>
<h2>{_text(meaning.title)} <span class="n">{result.count(kind):,}</span></h2>
<p class="lead">{_text(meaning.advice)}</p>
{body}{more}
</section>
"""


def _tile(result: CheckUp, finding: Finding) -> str:
    figures = []
    for subject in finding.subjects[:_MAX_PHOTOS]:
        picture = small_picture(result, subject)
        if picture is None:
            frame = "cannot be shown"
        else:
            uri, width, height = jpeg_uri(picture)
            frame = f'<img width="{width}" height="{height}" loading="lazy" alt="" src="{uri}">'
        figures.append(
            f'<figure><div class="frame">{frame}</div>'
            f"<figcaption><b>{_text(subject.split)}</b> {_text(subject.name)}<br>{_text(finding.detail)}"
            "</figcaption></figure>"
        )
    rest = len(finding.subjects) - _MAX_PHOTOS
    return f"<li>{''.join(figures)}{f'<p>and {rest:,} more</p>' if rest > 0 else ''}</li>"


def _chart(title: str, unit: str, counts: Counter[int], edges: tuple[int, ...]) -> str:
    bars = binned(counts, edges)
    most = max((height for _, height in bars), default=1)
    rows = "".join(
        f'<dt>{name}</dt><dd><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * height / most:.2f}" height="1"/></svg></dd><dd>{height:,}</dd>'
        for name, height in bars
    )
    return f'<section><h2>{title} <span class="n">{unit}</span></h2><dl class="bars">{rows}</dl></section>'


def _unknown_words(result: CheckUp) -> str:
    if not result.captions.unknown:
        return ""
    splits = list(result.captions.unknown[0].rates)
    head = "".join(f'<th class="r">{_text(name)}</th>' for name in ("words known", "min_count", *splits))
    return f"""<section>
<h2>Unknown words, by size of the vocabulary</h2>
<p class="lead">The vocabulary consists of the most frequent words of the training captions. tokenizer.min_count keeps
those that occur at least that often.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(_rates(result, splits))}</tbody></table></div>
</section>
"""


def _rates(result: CheckUp, splits: list[str]) -> Iterator[str]:
    for row in result.captions.unknown:
        cells = [f"{row.words:,}", f"{row.min_count:,}", *(f"{row.rates[split]:.2%}" for split in splits)]
        yield f"<tr>{''.join(f'<td class=r>{cell}</td>' for cell in cells)}</tr>"
