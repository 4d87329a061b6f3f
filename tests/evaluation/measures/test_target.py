"""Do the three arrays of a target say what the mask says, and do the figures follow?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.evaluation.measures.target import THRESHOLDS, centre_map, fit, target
from captioner.image.geometry import ImageGeometry

SQUARE = ImageGeometry((40, 40), 1, (0.0, 0.0, 40.0, 40.0), (32, 32))
CROPPED = ImageGeometry((40, 80), 1, (0.0, 20.0, 40.0, 60.0), (32, 32))
PADDED = ImageGeometry((20, 40), 1, (-10.0, 0.0, 30.0, 40.0), (32, 32))
OFFSET = ImageGeometry((40, 40), 1, (0.0, 0.0, 40.0, 40.0), (32, 32), (-2.0, 3.0, 30.0, 35.0))
GEOMETRIES = [SQUARE, CROPPED, PADDED, OFFSET]


def mask_of(geometry: ImageGeometry, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(geometry.size, dtype=bool)
    top, left = (rng.integers(0, side - 4) for side in geometry.size)
    mask[top : top + rng.integers(2, 15), left : left + rng.integers(2, 15)] = True
    return mask


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(4))
def test_mass_is_that_of_the_map_spread_over_the_photo(geometry: ImageGeometry, seed: int) -> None:
    """Equal to bringing the map to the photo and summing under the mask."""
    rng = np.random.default_rng(seed)
    own, mask = rng.random((5, 7), dtype=np.float32), mask_of(geometry, seed)
    spread = geometry.to_original(own, resample="mass")
    expected = spread[mask].sum() / own.sum()
    assert fit(own, target(mask, geometry, (5, 7))).mass == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(4))
def test_the_peak_is_where_interpolation_has_its_maximum(geometry: ImageGeometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = rng.random((4, 5), dtype=np.float32)
    drawn = geometry.to_original(own, size=tuple(side * 16 for side in geometry.size))  # type: ignore[arg-type]
    places = drawn >= drawn.max() - 0.02  # the maximum lies between two pixels
    row, col = np.unravel_index(own.argmax(), own.shape)
    if geometry is not PADDED:  # there the peak may lie on the padding, and then on no photo
        assert target(places, geometry, (4, 5)).middles[row, col] == 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_iou_is_that_of_the_regions_drawn_on_the_photo(geometry: ImageGeometry) -> None:
    rng = np.random.default_rng(1)
    own, mask = rng.random((4, 4), dtype=np.float32), mask_of(geometry, 5)
    found = fit(own, target(mask, geometry, (4, 4))).iou
    drawn = geometry.to_original(own + 1, size=tuple(side * 8 for side in geometry.size), resample="nearest")  # type: ignore[arg-type]
    large = mask.repeat(8, axis=0).repeat(8, axis=1)
    for threshold, value in zip(THRESHOLDS, found, strict=True):
        region = drawn >= 1 + threshold * own.max()
        expected = (region & large).sum() / (region | large).sum()
        assert value == pytest.approx(expected, abs=0.03)


def test_a_map_that_is_the_mask_itself_is_perfect() -> None:
    own = np.zeros((4, 4), np.float32)
    own[1:3, 2] = 1
    mask = own.repeat(10, axis=0).repeat(10, axis=1).astype(bool)
    perfect = fit(own, target(mask, SQUARE, (4, 4)))
    assert perfect.pointing == 1
    assert perfect.mass == 1
    assert perfect.iou[1:] == pytest.approx(1)
    assert perfect.iou[0] == pytest.approx(2 / 16)  # a threshold of nothing takes the whole photo
    opposite = fit(1 - own, target(mask, SQUARE, (4, 4)))
    assert opposite.pointing == 0
    assert opposite.mass == 0


@given(st.integers(0, 10_000))
def test_a_flat_map_scores_what_chance_does(seed: int) -> None:
    cells = np.random.default_rng(seed).random((4, 4)) < 0.4
    mask = cells.repeat(10, axis=0).repeat(10, axis=1)
    flat = fit(np.full((4, 4), 0.3, np.float32), target(mask, SQUARE, (4, 4)))
    assert flat.pointing == pytest.approx(mask.mean())
    assert flat.mass == pytest.approx(mask.mean())
    assert flat.iou == pytest.approx(mask.mean())


def test_many_maps_are_judged_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((3, 2, 4, 5)).astype(np.float32)
    to = target(mask_of(CROPPED, 3), CROPPED, (4, 5))
    together = fit(maps, to)
    for i, j in np.ndindex(3, 2):
        alone = fit(maps[i, j], to)
        assert together.pointing[i, j] == alone.pointing
        assert together.mass[i, j] == pytest.approx(alone.mass)
        assert together.iou[i, j] == pytest.approx(alone.iou)


def test_what_speaks_against_a_place_is_no_mass() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[:20] = True
    own = np.array([[1, 1], [-5, 2]], np.float32)
    found = fit(own, target(mask, SQUARE, (2, 2)))
    assert found.mass == pytest.approx(2 / 4)
    assert found.pointing == 0
    nothing = fit(np.zeros((2, 2), np.float32), target(mask, SQUARE, (2, 2)))
    assert nothing.mass == 0
    assert nothing.pointing == 0.5


def test_a_thing_that_was_cropped_away_was_not_seen() -> None:
    mask = np.zeros((40, 80), dtype=bool)
    mask[:, :10] = True
    gone = target(mask, CROPPED, (4, 4))
    assert (gone.seen, gone.area) == (0, 1 / 8)
    assert gone.middles.sum() == gone.cover.sum() == 0
    mask[:, 10:30] = True
    assert target(mask, CROPPED, (4, 4)).seen == pytest.approx(1 / 3)


def test_a_mask_of_another_size_is_stretched_over_the_photo() -> None:
    mask = mask_of(CROPPED, 2)
    twice = mask.repeat(2, axis=0).repeat(2, axis=1)
    one, other = target(mask, CROPPED, (3, 3)), target(twice, CROPPED, (3, 3))
    for name in ("middles", "cover", "overlap", "cells"):
        assert getattr(one, name) == pytest.approx(getattr(other, name)), name


def test_the_centre_baseline_looks_at_the_centre_of_the_photo() -> None:
    for geometry in GEOMETRIES[:3]:
        hill = centre_map(geometry, (5, 5))
        assert int(hill.argmax()) == 2 * 5 + 2  # row 2, column 2
        assert hill.sum() == pytest.approx(1)
        assert hill == pytest.approx(hill[::-1, ::-1])
    mask = np.zeros((40, 40), dtype=bool)
    mask[20, 20] = True
    assert target(mask, SQUARE, (5, 5)).centre == 1


def test_a_photo_of_one_pixel() -> None:
    one = ImageGeometry((1, 1), 1, (0.0, 0.0, 1.0, 1.0), (32, 32))
    found = target(np.ones((1, 1), dtype=bool), one, (7, 7))
    assert (found.area, found.centre, found.middles.min()) == (1, 1, 1)
    assert fit(np.eye(7, dtype=np.float32), found).mass == pytest.approx(1)
