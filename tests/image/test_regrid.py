from __future__ import annotations

import numpy as np
import pytest

from captioner.image.regrid import middle_grid, regrid


@pytest.mark.parametrize("grid", [(1, 1), (4, 6), (8, 12), (3, 5), (7, 2)])
def test_mass_is_kept_and_a_flat_map_stays_flat(grid: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(regrid(maps, grid).sum(axis=(-2, -1)), maps.sum(axis=(-2, -1)), atol=1e-5)
    np.testing.assert_allclose(regrid(np.ones((4, 6)), grid), 24 / (grid[0] * grid[1]))


def test_cells_are_shared_out_by_area() -> None:
    assert regrid(np.array([[6.0, 0.0, 3.0]]), (1, 2)).tolist() == [[6, 3]]
    np.testing.assert_allclose(regrid(np.array([[0.0, 6.0, 0.0]]), (2, 2)), np.full((2, 2), 1.5))


def test_the_same_grid_changes_nothing() -> None:
    maps = np.random.default_rng(1).random((3, 5, 7), dtype=np.float32)
    np.testing.assert_array_equal(regrid(maps, (5, 7)), maps)


def test_the_middle_grid() -> None:
    assert middle_grid([(7, 7)] * 4) == (7, 7)
    assert middle_grid([(6, 8), (8, 6), (7, 7), (1, 40)]) == (6, 8)
    assert middle_grid([(1, 1), (2, 2)]) == (2, 2)
