"""Captions whose maps are planted, so that what must be seen is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.caption import Caption, Word
from captioner.image.geometry import ImageGeometry
from tests.overlay.browser import browser, driver

__all__ = ["browser", "driver", "make_caption"]

MakeCaption = Callable[..., Caption]


@pytest.fixture(scope="session")
def make_caption() -> MakeCaption:
    """A function that makes a caption of `text` with random maps over a photo of `size`."""

    def make(
        text: str = "a dog runs",
        *,
        size: tuple[int, int] = (60, 80),
        view: tuple[float, float, float, float] | None = None,
        cells: tuple[float, float, float, float] | None = None,
        grid: tuple[int, int] = (4, 5),
        layers: int = 2,
        heads: int = 3,
        maps: NDArray[np.float32] | None = None,
        seed: int = 0,
    ) -> Caption:
        rng = np.random.default_rng(seed)
        words = text.split()
        if maps is None:
            maps = rng.dirichlet(np.full(grid[0] * grid[1], 0.5), (len(words), layers, heads)).astype(
                np.float32
            )
            maps = maps.reshape(len(words), layers, heads, *grid)
            maps = maps * rng.uniform(0.3, 1, (len(words), 1, 1, 1, 1)).astype(np.float32)
        shown = []
        for word, own in zip(words, maps, strict=True):
            mean = own.mean(axis=(0, 1))
            shown.append(Word(word, float(np.log(rng.uniform(0.1, 1))), float(mean.sum()), mean))
        geometry = ImageGeometry(size, 1, view or (0.0, 0.0, float(size[0]), float(size[1])), (32, 32), cells)
        return Caption(text, tuple(shown), -0.5, -1.5, maps, geometry)

    return make
