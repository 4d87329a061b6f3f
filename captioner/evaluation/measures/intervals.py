"""95 % intervals by the bootstrap over images (Efron 1979), since words of one image are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval; all nan if there are no values.

    Attributes:
        value: The mean over all words.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class Bootstrap:
    """Resamples of images with replacement, the same for every figure, so that differences are paired.

    Args:
        images: The image id of each word. The resamples depend on the set of ids, not on their order.
        resamples: Number of resamples.
        seed: Seed of the resamples.
    """

    def __init__(self, images: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        names = sorted(set(images))
        place = {name: k for k, name in enumerate(names)}
        self._of = np.array([place[name] for name in images], dtype=np.intp)
        count = len(names)
        shares = np.full(count, 1 / max(1, count))
        self._draws = (
            np.random.default_rng(seed).multinomial(count, shares, size=resamples).astype(np.float64)
        )

    def means(self, values: NDArray[np.float64], words: NDArray[np.bool_]) -> list[Estimate]:
        """The mean of each column over some of the words.

        Args:
            values: `[words, columns]`.
            words: bool `[words]`: which of them to take.
        """
        if not words.any():
            return [Estimate(float("nan"), float("nan"), float("nan"))] * values.shape[1]
        images = self._draws.shape[1]
        sums = np.zeros((images, values.shape[1]))
        np.add.at(sums, self._of[words], values[words])
        counts = np.bincount(self._of[words], minlength=images).astype(np.float64)
        drawn = self._draws @ counts
        means = (self._draws @ sums)[drawn > 0] / drawn[drawn > 0, None]
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        middle = values[words].mean(axis=0)
        return [Estimate(*map(float, row)) for row in zip(middle, low, high, strict=True)]
