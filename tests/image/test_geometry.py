from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.image.decode import read_photo
from captioner.image.geometry import ImageGeometry, Resample
from captioner.image.orientation import to_stored
from captioner.image.transforms import ImageTransform

GREY = (0.5, 0.5, 0.5)
SIDES = st.integers(1, 400) | st.sampled_from([1, 2, 3, 8000])
GRIDS = st.tuples(st.integers(1, 9), st.integers(1, 9))
FITS = st.sampled_from(["crop", "pad", "squash", "native"])


@st.composite
def geometries(draw: st.DrawFn) -> ImageGeometry:
    rows, cols = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    top, left = draw(st.floats(-50, 50)), draw(st.floats(-50, 50))
    bottom, right = top + draw(st.floats(1, 120)), left + draw(st.floats(1, 120))
    cells = None
    if draw(st.booleans()):  # half a cell of two beside the even parts, or more cells than fit
        up, near = draw(st.floats(-8, 8)), draw(st.floats(-12, 12))
        cells = (up, near, up + draw(st.floats(30, 40)), near + draw(st.floats(40, 60)))
    return ImageGeometry((rows, cols), draw(st.integers(1, 8)), (top, left, bottom, right), (32, 48), cells)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), rows=SIDES, cols=SIDES, fit=FITS, orientation=st.integers(1, 8))
def test_a_bright_spot_comes_back_to_where_it_was(
    data: st.DataObject, rows: int, cols: int, fit: str, orientation: int
) -> None:
    """From stored pixels through turn, crop or pad, resize and a grid, back to upright pixels."""
    if rows * cols > 400 * 400:
        cols = max(1, cols // 50)
    step = data.draw(st.sampled_from([(8, 8), (8, 12), (12, 8)]))
    transform = ImageTransform((4 * step[0], 4 * step[1]), fit=fit, mean=GREY, std=GREY, step=step)  # type: ignore[arg-type]
    size = transform.input_size(rows, cols)
    seen = transform.visible_size(rows, cols)
    # A spot of a cell's size, fully within what the model sees, somewhere in the upright photo.
    grid = (size[0] // step[0], size[1] // step[1])
    high, wide = max(1, -(-seen[0] // grid[0])), max(1, -(-seen[1] // grid[1]))
    top = (rows - seen[0]) // 2 + data.draw(st.integers(0, seen[0] - high))
    left = (cols - seen[1]) // 2 + data.draw(st.integers(0, seen[1] - wide))
    upright = np.zeros((rows, cols, 3), np.uint8)
    upright[top : top + high, left : left + wide] = 255
    photo = read_photo(upright)
    image, geometry = transform(photo)
    cells = (image[0].numpy() + 1) / 2
    cells = cells.reshape(grid[0], size[0] // grid[0], grid[1], size[1] // grid[1])
    if fit == "pad":  # the padding is grey; it is no spot
        inner = transform.inner_size(rows, cols, size)
        edge = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        inside = np.zeros(size, np.float32)
        inside[edge[0] : edge[0] + inner[0], edge[1] : edge[1] + inner[1]] = 1
        cells = cells * inside.reshape(cells.shape)
    back = geometry.to_original(cells.mean(axis=(1, 3)), resample="nearest")
    assert back.shape == (rows, cols)
    brightest = np.argwhere(
        back == back.max()
    )  # every pixel of the winning cell, or of two that share the spot
    box = geometry.cell_box(0, 0, grid)
    cell = np.array([box[2] - box[0], box[3] - box[1]])
    off = np.abs(brightest.mean(axis=0) + 0.5 - [top + high / 2, left + wide / 2])
    assert (off <= cell / 2 + 1).all(), (off, cell)
    smooth = geometry.to_original(cells.mean(axis=(1, 3)))
    # Border cells are flat to the edge: the nearest of the highest pixels.
    peaks = np.argwhere(smooth >= smooth.max() - 1e-6) + 0.5
    off = np.abs(peaks - [top + high / 2, left + wide / 2]).min(axis=0)
    assert (off <= cell / 2 + 1).all(), (off, cell)
    assert ImageGeometry(geometry.size, orientation, geometry.view, size).to_stored(back).shape == (
        (cols, rows) if orientation >= 5 else (rows, cols)
    )


@given(geometry=geometries(), points=st.lists(st.tuples(st.floats(-99, 99), st.floats(-99, 99)), min_size=1))
def test_points_are_mapped_by_the_view(geometry: ImageGeometry, points: list[tuple[float, float]]) -> None:
    top, left, bottom, right = geometry.view
    share = (np.array(points) - [top, left]) / [bottom - top, right - left]
    back = geometry.to_original_points(share * geometry.input_size)
    np.testing.assert_allclose(back, points, atol=1e-9)


@given(geometry=geometries(), grid=GRIDS)
def test_a_cell_is_a_box_of_the_input(geometry: ImageGeometry, grid: tuple[int, int]) -> None:
    geometry = replace(geometry, cells=None)
    for row in range(grid[0]):
        for col in range(grid[1]):
            step = (32 / grid[0], 48 / grid[1])
            box = [row * step[0], col * step[1], (row + 1) * step[0], (col + 1) * step[1]]
            np.testing.assert_allclose(geometry.cell_box(row, col, grid), geometry.to_original_boxes(box))


@given(geometry=geometries(), grid=GRIDS, seed=st.integers(0, 99))
def test_nearest_gives_each_pixel_the_value_of_its_cell(
    geometry: ImageGeometry, grid: tuple[int, int], seed: int
) -> None:
    values = np.random.default_rng(seed).random(grid, np.float32)
    expected = np.zeros(geometry.size, np.float32)
    on_edge = np.zeros(geometry.size, bool)  # a pixel whose centre lies on an edge may go either way
    for row in range(grid[0]):
        for col in range(grid[1]):
            top, left, bottom, right = geometry.cell_box(row, col, grid)
            ys, xs = np.arange(geometry.size[0]) + 0.5, np.arange(geometry.size[1]) + 0.5
            inside = ((ys >= top) & (ys < bottom))[:, None] & ((xs >= left) & (xs < right))
            expected[inside] = values[row, col]
            on_edge |= (np.minimum(abs(ys - top), abs(ys - bottom)) < 1e-6)[:, None]
            on_edge |= np.minimum(abs(xs - left), abs(xs - right)) < 1e-6
    found = geometry.to_original(values, resample="nearest")
    np.testing.assert_array_equal(found[~on_edge], expected[~on_edge])


@given(geometry=geometries(), grid=GRIDS, seed=st.integers(0, 99))
def test_mass_is_kept_but_for_padding(geometry: ImageGeometry, grid: tuple[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).random(grid, np.float32)
    kept = 0.0
    for row in range(grid[0]):
        for col in range(grid[1]):
            top, left, bottom, right = geometry.cell_box(row, col, grid)
            high = max(0.0, min(bottom, geometry.size[0]) - max(top, 0)) / (bottom - top)
            wide = max(0.0, min(right, geometry.size[1]) - max(left, 0)) / (right - left)
            kept += float(values[row, col]) * high * wide
    np.testing.assert_allclose(
        geometry.to_original(values, resample="mass").sum(), kept, rtol=1e-4, atol=1e-5
    )
    # Drawn at another size, the mass is the same.
    small = geometry.to_original(values, resample="mass", size=(7, 5))
    np.testing.assert_allclose(small.sum(), kept, rtol=1e-4, atol=1e-5)


@given(geometry=geometries(), grid=GRIDS)
def test_bilinear_keeps_a_flat_map_flat_where_the_model_looked(
    geometry: ImageGeometry, grid: tuple[int, int]
) -> None:
    back = geometry.to_original(np.ones(grid, np.float32))
    top, left, bottom, right = geometry.view
    ys, xs = np.arange(geometry.size[0]) + 0.5, np.arange(geometry.size[1]) + 0.5
    near = ((ys > top - 1e-6) & (ys < bottom + 1e-6))[:, None] & ((xs > left - 1e-6) & (xs < right + 1e-6))
    well = ((ys > top + 1e-6) & (ys < bottom - 1e-6))[:, None] & ((xs > left + 1e-6) & (xs < right - 1e-6))
    np.testing.assert_allclose(back[well], 1, atol=1e-6)
    np.testing.assert_array_equal(back[~near], 0)


@given(geometry=geometries(), grid=GRIDS)
def test_cells_share_out_all_that_was_seen_each_around_its_middle(
    geometry: ImageGeometry, grid: tuple[int, int]
) -> None:
    whole = geometry.cells_view
    for axis in (0, 1):
        boxes = [
            geometry.cell_box(*((i, 0) if axis == 0 else (0, i)), grid)[axis::2] for i in range(grid[axis])
        ]
        assert boxes[0][0] == geometry.view[axis]
        assert boxes[-1][1] == geometry.view[axis + 2]
        step = (whole[axis + 2] - whole[axis]) / grid[axis]
        for i, ((_, end), (start, _)) in enumerate(pairwise(boxes)):
            assert end == start
            between = whole[axis] + (i + 1) * step
            length = geometry.view[axis + 2] - geometry.view[axis]
            limit = np.clip(between, geometry.view[axis], geometry.view[axis + 2])
            assert end == pytest.approx(limit, abs=1e-5 * length)


@pytest.mark.parametrize("resample", ["bilinear", "nearest", "mass"])
def test_cells_that_end_before_the_picture_go_on_to_its_edge(resample: Resample) -> None:
    geometry = ImageGeometry((64, 64), 1, (0.0, 0.0, 64.0, 64.0), (64, 64), (-15.5, 15.5, 48.5, 79.5))
    back = geometry.to_original(np.array([[1.0, 2.0], [3.0, 4.0]]), resample=resample)
    assert back.sum() == pytest.approx(10) if resample == "mass" else back[:, :31].max() <= 3
    # The cells' middles are at 0.5 and 32.5 from above, at 31.5 and 63.5 from the left.
    corners = back[[0, 0, 63, 63], [0, 63, 0, 63]]
    high, wide = np.array([16.5, 47.5]), np.array([47.5, 16.5])
    areas = np.outer(high, wide).ravel() if resample == "mass" else 1
    np.testing.assert_allclose(corners * areas, [1, 2, 3, 4], rtol=1e-6)


def test_bilinear_equals_an_affine_ramp_between_cell_centres() -> None:
    geometry = ImageGeometry((40, 60), 1, (0.0, 0.0, 40.0, 60.0), (40, 60))
    centres = (np.arange(4) + 0.5) * 10
    back = geometry.to_original(np.repeat(centres[:, None], 6, axis=1))
    np.testing.assert_allclose(back[5:35, 0], np.arange(5, 35) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(back[:, 0], back[:, -1])


def test_a_stack_of_maps_is_brought_back_at_once() -> None:
    geometry = ImageGeometry((11, 13), 1, (-2.0, 1.0, 15.0, 9.0), (8, 8))
    maps = np.random.default_rng(0).random((2, 3, 4, 4), np.float32)
    stack = geometry.to_original(maps)
    assert stack.shape == (2, 3, 11, 13)
    assert stack.dtype == np.float32
    np.testing.assert_allclose(stack[1, 2], geometry.to_original(maps[1, 2]), rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_order_undoes_the_turn(orientation: int) -> None:
    upright = np.arange(12).reshape(3, 4)
    geometry = ImageGeometry((3, 4), orientation, (0, 0, 3, 4), (8, 8))
    np.testing.assert_array_equal(geometry.to_stored(upright), to_stored(upright, orientation))


@pytest.mark.parametrize(
    ("size", "view", "orientation"),
    [((0, 4), (0, 0, 1, 1), 1), ((4, 4), (1, 0, 1, 1), 1), ((4, 4), (0, 0, 1, 1), 9)],
)
def test_senseless_geometry_is_refused(
    size: tuple[int, int], view: tuple[float, float, float, float], orientation: int
) -> None:
    with pytest.raises(ValueError, match=r"no area in|orientation is 9"):
        ImageGeometry(size, orientation, view, (8, 8))
