"""Report of unreadable photos: names each once, counts them, and stops the run where they are too many."""

from __future__ import annotations

import sys
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from captioner.data.batch import CaptionBatch
from captioner.errors import DataError

_MAX_FRACTION = 0.1  # of a split's photos; beyond it the fault is elsewhere than in single photos


class SkippedPhotos(Callback):
    """Reports the photos that `data.on_bad=skip` leaves out, and limits their number in each split.

    Args:
        train: Number of training images.
        val: Number of validation images.

    Raises:
        DataError: At the end of an epoch, if over 10 % of a split's photos, and more than one, were skipped so far.
    """

    def __init__(self, *, train: int, val: int) -> None:
        self.sizes = {"training": train, "validation": val}
        self._faults: dict[str, dict[str, None]] = {split: {} for split in self.sizes}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
    ) -> None:
        """Report the faults of a training batch."""
        self._report("training", batch)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Report the faults of a validation batch."""
        self._report("validation", batch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop, in all processes at once, if too many photos of a split were skipped."""
        faults = self._gather(trainer)
        for split, size in self.sizes.items():
            count = len(faults[split])
            if count > max(1, _MAX_FRACTION * size):
                raise DataError(
                    f"{count:,} of {size:,} {split} photos cannot be read, above the {_MAX_FRACTION:.0%} that "
                    "data.on_bad=skip allows; check data.root and the disk"
                )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print the total."""
        count = len(set().union(*self._gather(trainer).values()))
        if count and trainer.is_global_zero:
            verb = "photo was" if count == 1 else "photos were"
            print(f"{count:,} {verb} skipped; they are named above", file=sys.stderr, flush=True)

    def _report(self, split: str, batch: CaptionBatch) -> None:
        for fault in batch.faults:
            if not any(fault in faults for faults in self._faults.values()):
                print(f"\nskipped: {fault}", file=sys.stderr, flush=True)
            self._faults[split][fault] = None

    def _gather(self, trainer: lightning.Trainer) -> dict[str, set[str]]:
        """The faults of each split in any process."""
        parts = [self._faults]
        if trainer.world_size > 1:
            parts = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, self._faults)
        return {split: set().union(*(part[split] for part in parts)) for split in self.sizes}
