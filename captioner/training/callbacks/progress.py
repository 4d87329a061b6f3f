"""Progress line of a training run: epoch, speed, losses and remaining time."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from captioner.data.batch import CaptionBatch

_WIDTH = 24  # characters of the bar
_REFRESH = 0.2  # seconds between two updates on a terminal


class Progress(Callback):
    """A progress bar on a terminal; one line per epoch where stderr is not a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._start = 0.0
        self._first_step = 0
        self._epoch_start = 0.0
        self._images = 0
        self._shown = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock of the run."""
        self._start = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = time.monotonic()
        self._images = 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the images and update the bar."""
        if isinstance(batch, CaptionBatch):
            self._images += len(batch.indices) * trainer.world_size
        now = time.monotonic()
        if self._live and trainer.is_global_zero and now - self._shown >= _REFRESH:
            self._shown = now
            self._draw(trainer, (batch_idx + 1) / max(1, int(trainer.num_training_batches)))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print the final line of the epoch."""
        if trainer.is_global_zero:
            self._draw(trainer, 1.0)
            print(file=sys.stderr, flush=True)

    def _draw(self, trainer: lightning.Trainer, fraction: float) -> None:
        now = time.monotonic()
        total = trainer.estimated_stepping_batches
        steps = trainer.global_step
        left = ""
        if steps > self._first_step and total != float("inf"):
            seconds = (now - self._start) / (steps - self._first_step) * (float(total) - steps)
            left = f" · {clock(seconds)} left" if steps < total else f" · {clock(now - self._start)} in total"
        filled = round(fraction * _WIDTH)
        bar = "━" * filled + "─" * (_WIDTH - filled) + " " if self._live else ""
        speed = self._images / max(1e-9, now - self._epoch_start)
        scores = "".join(
            f" · {name} {float(value):.3f}"
            for name, value in trainer.callback_metrics.items()
            if name in trainer.progress_bar_metrics
        )
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        line = f"epoch {trainer.current_epoch + 1}{epochs} {bar}{speed:.0f} images/s{scores}{left}"
        if self._live:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, end="", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
