"""What does a method cost? The seconds it takes, beside its maps."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.explain.methods import Method
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.models.captioner import Captioner


class TimedMethod:
    """A method that counts the seconds it takes.

    Args:
        method: What computes.

    Attributes:
        seconds: In all so far.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self.seconds = 0.0

    @property
    def name(self) -> str:
        """The method's."""
        return self._method.name

    @property
    def unit(self) -> Unit:
        """The method's."""
        return self._method.unit

    @property
    def cost(self) -> str:
        """The method's."""
        return self._method.cost

    def check(self, captioner: Captioner) -> None:
        """Refuse what the method refuses."""
        self._method.check(captioner)

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """The method's maps."""
        _wait(batch.images.device)
        start = time.perf_counter()
        maps = self._method(batch)
        _wait(batch.images.device)
        self.seconds += time.perf_counter() - start
        return maps


def _wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
