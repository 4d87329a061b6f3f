"""Which photos could not be read? Names each once, counts them at the end, and stops where they are too many."""

from __future__ import annotations

import sys
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from captioner.data.batch import CaptionBatch
from captioner.errors import DataError

_MOST = 0.1  # share of the training images; beyond it something else is wrong than a photo


class SkippedPhotos(Callback):
    """Tells of photos that `data.on_bad=skip` left out.

    Args:
        images: Number of training images.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self._faults: dict[str, None] = {}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
    ) -> None:
        """Name what was skipped in a training batch."""
        self._tell(batch)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Name what was skipped in a validation batch."""
        self._tell(batch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop, in all processes at once, if too much was skipped."""
        count = len(self._gather(trainer))
        if count > max(1, _MOST * self.images):
            raise DataError(
                f"{count:,} photos of {self.images:,} cannot be read, more than data.on_bad=skip leaves out "
                f"({_MOST:.0%}); check data.root and the disk"
            )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count what was skipped."""
        faults = self._gather(trainer)
        if faults and trainer.is_global_zero:
            verb = "photo was" if len(faults) == 1 else "photos were"
            print(f"{len(faults):,} {verb} skipped; they are named above", file=sys.stderr, flush=True)

    def _tell(self, batch: CaptionBatch) -> None:
        for fault in batch.faults:
            if fault not in self._faults:
                self._faults[fault] = None
                print(f"\nskipped: {fault}", file=sys.stderr, flush=True)

    def _gather(self, trainer: lightning.Trainer) -> set[str]:
        """What any process skipped."""
        if trainer.world_size == 1:
            return set(self._faults)
        parts: list[list[str]] = [[] for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(parts, list(self._faults))
        return {fault for part in parts for fault in part}
