"""Running time of explanation methods."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.explain.methods import Method
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.models.captioner import Captioner


class TimedMethod:
    """An explanation method that measures its running time.

    Args:
        method: The method.

    Attributes:
        seconds: The time of all calls so far.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self.seconds = 0.0

    @property
    def name(self) -> str:
        """The method's name."""
        return self._method.name

    @property
    def unit(self) -> Unit:
        """The unit of the method's maps."""
        return self._method.unit

    @property
    def cost(self) -> str:
        """The method's cost in words."""
        return self._method.cost

    def check(self, captioner: Captioner) -> None:
        """Refuse the models that the method refuses."""
        self._method.check(captioner)

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """The method's maps."""
        _synchronize(batch.images.device)
        start = time.perf_counter()
        maps = self._method(batch)
        _synchronize(batch.images.device)
        self.seconds += time.perf_counter() - start
        return maps


def _synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
