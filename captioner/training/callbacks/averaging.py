"""What if the last step went astray? An exponential moving average of the weights, which is what is kept.

    ā ← d ā + (1 - d) w

From random weights, d = min(decay, (1 + n) / (10 + n)) at the n-th step: the smaller decay of the first steps lets the
average forget them. From a model that is trained already, d = decay, and that model keeps its share in the average:
between the old weights and the new ones often lie better ones than either.

Sources: Polyak & Juditsky 1992 (averaging); Tarvainen & Valpola 2017 (its exponential form in deep learning); the
rising decay is TensorFlow's `ExponentialMovingAverage`; Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"
(between old weights and new ones).
"""

from __future__ import annotations

import itertools
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from captioner.errors import UsageError
from captioner.training.module import CaptionModule

_Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage(Callback):
    """Averages the model's weights and running statistics over steps; validation and the model file use the average.

    It must stand behind every callback that validates or writes the model file, so that they find the average in place.
    The checkpoint is written after them and holds both.

    Args:
        decay: Weight of the average so far, above 0 and below 1.
        started: Whether training starts from a trained model.

    Raises:
        UsageError: If `decay` is out of range.
    """

    def __init__(self, decay: float, *, started: bool = False) -> None:
        if not 0 < decay < 1:
            raise UsageError(f"ema={decay} must be above 0 and below 1, such as 0.999; null for none")
        self.decay = decay
        self.started = started
        self._average: AveragedModel | None = None
        self._step = 0
        self._loaded: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """One state a run, whatever the decay."""
        return "WeightAverage"

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin the average, or go on with that of the checkpoint."""
        assert isinstance(pl_module, CaptionModule)
        self._average = AveragedModel(pl_module.captioner, multi_avg_fn=self._mix, use_buffers=True)
        self._average.n_averaged.fill_(1)  # the weights that training starts from are the first
        if self._loaded is not None:
            self._average.load_state_dict(self._loaded)
            self._loaded = None

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take in the weights, where the batch led to a step."""
        if trainer.global_step > self._step:
            assert self._average is not None
            assert isinstance(pl_module, CaptionModule)
            self._average.update_parameters(pl_module.captioner)
            self._step = trainer.global_step

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in the weights' place."""
        self._exchange(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the weights back."""
        self._exchange(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average, and the step it has come to."""
        assert self._average is not None
        return {"average": self._average.state_dict(), "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`, as soon as there is a model."""
        self._loaded = state_dict["average"]
        self._step = state_dict["step"]

    @torch.no_grad()
    def _exchange(self, pl_module: lightning.LightningModule) -> None:
        assert self._average is not None
        assert isinstance(pl_module, CaptionModule)
        for theirs, mine in zip(_values(self._average.module), _values(pl_module.captioner), strict=True):
            kept = mine.clone()
            mine.copy_(theirs)
            theirs.copy_(kept)

    @torch.no_grad()
    def _mix(self, average: _Tensors, current: _Tensors, number: Tensor | int) -> None:
        """Move the averages, all of one type, towards the current values; `number` counts steps from 1."""
        decay = self.decay if self.started else min(self.decay, (1 + int(number)) / (10 + int(number)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - decay)
        else:  # what counts batches
            torch._foreach_copy_(average, current)


def _values(module: torch.nn.Module) -> itertools.chain[Tensor]:
    """Parameters and running statistics."""
    return itertools.chain(module.parameters(), module.buffers())
