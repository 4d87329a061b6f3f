"""Line plots as SVG, without a plotting library, whose import would take a second and 137 MB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Okabe & Ito's colours, distinguishable with any colour vision; dashes distinguish curves without colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP, _LINE = 320, 220, 52, 34, 44, 40, 16


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram.

    Attributes:
        title: Title above it.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        x: Positions of the points, 0–1.
        curves: By name, values of at least 0 at these positions.
    """

    title: str
    x_label: str
    y_label: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def plot_curves(panels: Sequence[Panel]) -> str:
    """Panels side by side, each with its legend: the text of an SVG file."""
    most = max((len(panel.curves) for panel in panels), default=0)
    width = _GAP + sum(_LEFT + _WIDTH + _GAP for _ in panels)
    height = _TOP + _HEIGHT + _BOTTOM + most * _LINE + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _GAP + number * (_LEFT + _WIDTH + _GAP) + _LEFT)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float) -> list[str]:
    top = max((max(values) for values in panel.curves.values()), default=0.0)
    ceiling = next(tick for tick in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if top <= tick or tick == 1.0)
    base = _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="bold">{escape(panel.title)}</text>']
    for k in range(5):
        y, x = base - _HEIGHT * k / 4, left + _WIDTH * k / 4
        parts += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{left + _WIDTH}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{ceiling * k / 4:.4g}</text>',
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{k / 4:g}</text>',
        ]
    parts += [
        f'<text x="{left + _WIDTH / 2}" y="{base + 34}" text-anchor="middle">{escape(panel.x_label)}</text>',
        f'<text transform="translate({left - 42} {_TOP + _HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y_label)}</text>",
    ]
    for number, (name, values) in enumerate(panel.curves.items()):
        points = " ".join(
            f"{left + _WIDTH * x:.1f},{base - _HEIGHT * min(1.0, value / ceiling):.1f}"
            for x, value in zip(panel.x, values, strict=True)
        )
        dash = _DASHES[number % len(_DASHES)]
        style = f'stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="2" stroke-dasharray="{dash}" fill="none"'
        y = base + _BOTTOM + 8 + number * _LINE
        parts += [
            f'<polyline points="{points}" {style}/>',
            f'<line x1="{left}" y1="{y}" x2="{left + 28}" y2="{y}" {style}/>',
            f'<text x="{left + 34}" y="{y + 4}">{escape(name)}</text>',
        ]
    return parts
