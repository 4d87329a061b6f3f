from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import UsageError
from captioner.explain.occlusion import Occlusion, patches
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner
from tests.explain.conftest import captioned

CELLS = (-4.0, -4.0, 28.0, 44.0)  # of an input of 32 x 48: half of a cell of 8 up and left


@pytest.mark.parametrize("grid", [None, (3, 5)])
def test_all_patches_at_once_are_one_patch_after_the_other(
    captioner: Captioner, grid: tuple[int, int] | None
) -> None:
    batch = captioned(captioner)
    batch = replace(batch, memory=replace(batch.memory, cells=CELLS))
    maps = Occlusion(grid)(batch)
    rows, cols = grid or batch.memory.grid
    geometry = ImageGeometry((32, 48), 1, (0.0, 0.0, 32.0, 48.0), (32, 48), CELLS)
    for b in range(3):
        caption = batch.tokens[b]
        inputs = torch.cat([torch.tensor([1]), caption[:-1]])[None, None]

        def logprobs(image: torch.Tensor, caption: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                own: torch.Tensor = captioner(image[None], inputs).logits[0, 0].log_softmax(dim=-1)
            return own.gather(1, caption[:, None])[:, 0]

        before = logprobs(batch.images[b], caption, inputs)
        for row in range(rows):
            for col in range(cols):
                top, left, bottom, right = (round(edge) for edge in geometry.cell_box(row, col, (rows, cols)))
                covered = batch.images[b].clone()
                covered[:, top:bottom, left:right] = 0
                drop = (before - logprobs(covered, caption, inputs)).masked_fill(caption == 0, 0)
                torch.testing.assert_close(maps[b, :, row, col], drop, atol=1e-4, rtol=1e-3)
    assert float(maps.abs().max()) > 0.05
    assert (maps[1, 2:] == 0).all()  # padding


sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.floats(-9, 9), st.floats(-9, 9))
def test_every_pixel_lies_in_one_patch(
    H: int, W: int, rows: int, cols: int, down: float, right: float
) -> None:
    cells = (down, right, H + down, W + right)
    masks = patches((rows, cols), (H, W), cells)
    assert masks.shape == (rows * cols, H, W)
    assert (masks.sum(dim=0) == 1).all()


@pytest.mark.parametrize("cells", [None, (3.5, -2.25, 35.5, 45.75)])
def test_a_patch_is_what_the_geometry_calls_its_cell(cells: tuple[float, float, float, float] | None) -> None:
    geometry = ImageGeometry((32, 48), 1, (0.0, 0.0, 32.0, 48.0), (32, 48), cells)
    masks = patches((4, 6), (32, 48), cells).numpy()
    for row in range(4):
        for col in range(6):
            one = np.zeros((4, 6), np.float32)
            one[row, col] = 1
            drawn = geometry.to_original(one, resample="nearest")
            np.testing.assert_array_equal(masks[row * 6 + col], drawn > 0.5)


@pytest.mark.parametrize(
    ("encoder", "taken"),
    [((7, 7), (7, 7)), ((12, 9), (12, 9)), ((14, 14), (7, 7)), ((16, 16), (8, 8)), ((37, 20), (10, 5))],
)
def test_a_fine_grid_is_made_coarser(
    cnn: Captioner, encoder: tuple[int, int], taken: tuple[int, int]
) -> None:
    batch = captioned(cnn, torch.tensor([[5, 2]]))
    batch = replace(batch, memory=replace(batch.memory, grid=encoder))
    assert Occlusion()(batch).shape == (1, 2, *taken)


def test_patches_are_at_least_a_pixel(cnn: Captioner) -> None:
    Occlusion((32, 48)).check(cnn)
    with pytest.raises(UsageError, match=r"explain=occlusion:7x49: .*32 x 48 pixels"):
        Occlusion((7, 49), name="occlusion:7x49").check(cnn)
    with pytest.raises(UsageError, match=r"explain=occlusion: .* at least 1"):
        Occlusion((0, 3))
