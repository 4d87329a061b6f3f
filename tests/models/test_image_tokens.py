from __future__ import annotations

import pytest
import torch

from captioner.models.image_tokens import ImageTokens


@pytest.mark.parametrize(("grid", "num_prefix"), [((3, 4), 0), ((3, 4), 5), ((1, 1), 1), ((12, 1), 0)])
def test_a_true_grid_is_taken(grid: tuple[int, int], num_prefix: int) -> None:
    tokens = ImageTokens(torch.zeros(2, num_prefix + grid[0] * grid[1], 8), grid, num_prefix)
    assert (tokens.grid, tokens.num_prefix) == (grid, num_prefix)


@pytest.mark.parametrize(
    ("shape", "grid", "num_prefix"),
    [
        ((2, 11, 8), (3, 4), 0),
        ((2, 13, 8), (3, 4), 0),
        ((2, 12, 8), (3, 4), 1),
        ((2, 16, 8), (3, 4), 5),
        ((2, 1, 8), (3, 4), -11),
        ((12, 8), (3, 4), 0),
        ((2, 8, 3, 4), (3, 4), 0),
    ],
)
def test_any_other_number_is_refused(shape: tuple[int, ...], grid: tuple[int, int], num_prefix: int) -> None:
    with pytest.raises(ValueError, match=f"{num_prefix} prefix tokens.*3 x 4"):
        ImageTokens(torch.zeros(shape), grid, num_prefix)
