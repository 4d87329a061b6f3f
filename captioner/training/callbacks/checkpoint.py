"""Checkpoints: the best model file, atomic writes, and random states for exact resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from captioner.errors import CaptionerError, UsageError, did_you_mean
from captioner.files import replace_file


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoint IO that writes a temporary file, syncs it to disk, and renames it over the old checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`. Raises CaptionerError if writing fails; the old file stays intact."""
        try:
            replace_file(Path(path), lambda temporary: torch.save(checkpoint, temporary))
        except (OSError, RuntimeError) as error:
            raise CaptionerError(
                f"cannot write the checkpoint {path}: {error}; the previous one is intact: free disk space, or "
                "set another output_dir"
            ) from error


class KeepBest(Callback):
    """Writes the model file whenever the monitored value improves, so that a stopped run leaves its best model.

    Args:
        monitor: Name of a logged validation value.
        mode: "min" or "max".
        write: Called with the epoch and all scores; writes the model file.

    Raises:
        UsageError: If `mode` is unknown, or, at the first validation, `monitor` is not logged.
    """

    def __init__(self, monitor: str, mode: str, write: Callable[[int, dict[str, float]], None]) -> None:
        if mode not in ("min", "max"):
            raise UsageError(f"monitor_mode={mode!r} must be min or max")
        self.monitor = monitor
        self.mode = mode
        self.write = write
        self.best: float | None = None

    @property
    def state_key(self) -> str:
        """Independent of `monitor`, so that a resumed run may change it."""
        return "KeepBest"

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the model if it is the best so far."""
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.monitor not in scores:
            known = sorted(name for name in scores if name.startswith("val/"))
            raise UsageError(
                f"monitor={self.monitor} is not logged; choose one of {', '.join(known)}"
                f"{did_you_mean(self.monitor, known)}"
            )
        if trainer.sanity_checking:
            return
        value = scores[self.monitor]
        better = self.best is None or (value < self.best if self.mode == "min" else value > self.best)
        if better:
            self.best = value
            if trainer.is_global_zero:
                self.write(trainer.current_epoch, scores)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value."""
        self.best = state_dict["best"]


class RandomState(Callback):
    """Saves torch's random generators in the checkpoint, so that dropout continues exactly after a resume.

    Order and augmentation do not depend on them: they are derived from the seed, the epoch and the sample.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of all generators that training uses."""
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until `on_train_start`, since building the model uses the generators."""
        self._state = state_dict

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restore the generators."""
        if self._state is None:
            return
        torch.set_rng_state(self._state["torch"])
        if self._state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self._state["cuda"])
