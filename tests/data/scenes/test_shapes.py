from __future__ import annotations

from math import pi, sin

import numpy as np
import pytest

from captioner.data.scenes.shapes import SHAPES, coverage

# Area on a radius of 1, by the closed formula of each shape.
AREAS = {
    "circle": pi * 0.95**2,
    "square": (2 * 0.84) ** 2,
    "triangle": 0.92 * 1.70,
    "star": 10 * 0.5 * 0.44 * sin(pi / 5),
    "cross": 2 * (1.88 * 0.64) - 0.64**2,
    "ring": pi * (0.98**2 - 0.52**2),
    "heart": 180 * pi / (17 * 16),
}


def test_every_shape_has_its_area_here() -> None:
    assert set(AREAS) == set(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_covers_its_area(shape: str) -> None:
    _, _, patch = coverage(shape, (50.3, 49.8), radius=40, angle=0.1)
    assert patch.sum() == pytest.approx(AREAS[shape] * 40**2, rel=0.015)
    assert patch.dtype == np.float32
    assert patch.min() == 0
    assert patch.max() == 1


@pytest.mark.parametrize("shape", ["circle", "square", "ring", "cross"])
@pytest.mark.parametrize("centre", [(20.0, 30.0), (20.5, 30.25), (19.9, 30.7)])
def test_lies_round_its_centre(shape: str, centre: tuple[float, float]) -> None:
    top, left, patch = coverage(shape, centre, radius=8.5, angle=-0.14)
    rows = (patch.sum(axis=1) * (np.arange(patch.shape[0]) + top + 0.5)).sum() / patch.sum()
    columns = (patch.sum(axis=0) * (np.arange(patch.shape[1]) + left + 0.5)).sum() / patch.sum()
    assert (rows, columns) == pytest.approx(centre, abs=0.13)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [-0.14, 0.0, 0.14])
def test_the_patch_cuts_nothing_off(shape: str, angle: float) -> None:
    _, _, small = coverage(shape, (30.0, 30.0), radius=10, angle=angle)
    _, _, twice = coverage(shape, (60.0, 60.0), radius=20, angle=angle)
    assert twice.sum() == pytest.approx(4 * small.sum(), rel=0.04)


def test_a_positive_angle_turns_clockwise() -> None:
    _, left, patch = coverage("triangle", (50.0, 50.0), radius=40, angle=0.14)
    highest = patch[np.flatnonzero(patch.max(axis=1) > 0)[0]]
    apex = np.flatnonzero(highest > 0).mean() + left
    assert apex > 50
