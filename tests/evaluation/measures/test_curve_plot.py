from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from captioner.evaluation.measures.curve_plot import Panel, plot_curves


def test_a_curve_goes_through_its_points() -> None:
    text = plot_curves(
        [Panel("title", "x", "y", [0.0, 0.5, 1.0], {"one": [0.0, 1.0, 0.5], "two": [1.0] * 3})]
    )
    ElementTree.fromstring(text)
    first, second = (
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline points="([^"]+)"', text)
    )
    (x0, bottom), (x1, top), (x2, middle) = first
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert middle == pytest.approx((top + bottom) / 2)
    assert {y for _, y in second} == {top}


def test_names_are_escaped_and_small_values_fill_the_panel() -> None:
    text = plot_curves([Panel("a < b", "x", "y", [0.0, 1.0], {"<script>&": [0.04, 0.02]})])
    assert "<script>" not in text
    ElementTree.fromstring(text)
    assert ">0.05<" in text
    assert plot_curves([]).startswith("<svg")
