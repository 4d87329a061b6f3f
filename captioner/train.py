"""Training of a captioner: python -m captioner.train [setting=value ...]."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from captioner.cli import run
from captioner.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> int:
    """Train as configured; writes model.safetensors, last.ckpt, metrics and samples to `output_dir`."""
    from captioner.training.fit import fit

    _number_run(cfg)
    result = fit(cfg, overrides=_overrides())
    if result is not None:
        print(f"model   {result.model_file}")
        print(f"scores  {'  '.join(f'{name} {value:.4f}' for name, value in sorted(result.scores.items()))}")
        print(f"next    python -m captioner.predict model={result.model_file} images=PHOTOS")
    return 0


def _overrides() -> list[str]:
    """The overrides on the command line; none where `train` was called from Python."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _number_run(cfg: DictConfig) -> None:
    """Set `output_dir` of a run of a sweep (-m) to its numbered folder, which Hydra made below that of the sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return
    devices = cfg.trainer.devices
    if str(devices) != "1" and not (OmegaConf.is_list(devices) and len(devices) == 1):
        # Each process would start the whole sweep again.
        raise UsageError(
            f"a sweep (-m) trains in one process, and trainer.devices={devices}; "
            "add trainer.devices=1, or start the runs one by one"
        )
    cfg.output_dir = os.path.relpath(HydraConfig.get().runtime.output_dir)


def main() -> None:
    """Run the command."""
    run(train, "train")


if __name__ == "__main__":
    main()
