"""Exponential moving average of the weights, used for validation and the model file.

    ā ← d ā + (1 - d) w

From random weights, d = min(decay, (1 + n) / (10 + n)) at the n-th step: the smaller decay of the first steps lets the
average forget the initial weights. From a trained model, d = decay, so that its weights stay in the average: weights
between the initial and the fine-tuned ones are often better than either.

Sources: Polyak & Juditsky 1992 (averaging); Tarvainen & Valpola 2017 (its exponential form in deep learning); the
rising decay is that of TensorFlow's `ExponentialMovingAverage`; Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models" (interpolation with the initial weights).
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
    """Averages weights and running statistics over steps; validation and the model file use the average.

    It must come after every callback that validates or writes the model file: Lightning calls `on_validation_end` in
    order, and those must still find the average in the model. The checkpoint is written last and holds both.

    Args:
        decay: Weight of the previous average, in (0, 1).
        pretrained: Whether training starts from a trained model.

    Raises:
        UsageError: If `decay` is out of range.
    """

    def __init__(self, decay: float, *, pretrained: bool = False) -> None:
        if not 0 < decay < 1:
            raise UsageError(
                f"ema={decay} must be above 0 and below 1, such as 0.999; null turns averaging off"
            )
        self.decay = decay
        self.pretrained = pretrained
        self._average: AveragedModel | None = None
        self._step = 0
        self._loaded: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """Independent of the decay, so that a resumed run may change it."""
        return "WeightAverage"

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the average at the current weights, or continue that of the checkpoint."""
        assert isinstance(pl_module, CaptionModule)
        self._average = AveragedModel(pl_module.captioner, multi_avg_fn=self._mix, use_buffers=True)
        self._average.n_averaged.fill_(1)  # the initial weights count as the first step
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
        """Update the average if the batch completed an optimizer step."""
        if trainer.global_step > self._step:
            assert self._average is not None
            assert isinstance(pl_module, CaptionModule)
            self._average.update_parameters(pl_module.captioner)
            self._step = trainer.global_step

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Swap the average into the model."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Swap the weights back into the model."""
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average, and the step of its last update."""
        assert self._average is not None
        return {"average": self._average.state_dict(), "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep `state_dict` until `on_fit_start`."""
        self._loaded = state_dict["average"]
        self._step = state_dict["step"]

    @torch.no_grad()
    def _swap(self, pl_module: lightning.LightningModule) -> None:
        assert self._average is not None
        assert isinstance(pl_module, CaptionModule)
        for average, current in zip(
            _tensors(self._average.module), _tensors(pl_module.captioner), strict=True
        ):
            kept = current.clone()
            current.copy_(average)
            average.copy_(kept)

    @torch.no_grad()
    def _mix(self, average: _Tensors, current: _Tensors, number: Tensor | int) -> None:
        """Move the averages, all of one dtype, towards the current values; `number` counts steps from 1."""
        decay = self.decay if self.pretrained else min(self.decay, (1 + int(number)) / (10 + int(number)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - decay)
        else:  # a batch norm's counter of batches
            torch._foreach_copy_(average, current)


def _tensors(module: torch.nn.Module) -> itertools.chain[Tensor]:
    """Parameters and buffers."""
    return itertools.chain(module.parameters(), module.buffers())
