"""Trains a captioner: python -m captioner.train [overrides]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.config import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> int:
    """Train as `cfg` says; leaves model.safetensors, last.ckpt, metrics and samples in `output_dir`."""
    from captioner.training.fit import fit

    result = fit(cfg)
    if result is not None:
        print(f"model   {result.model_file}")
        print(f"scores  {'  '.join(f'{name} {value:.4f}' for name, value in sorted(result.scores.items()))}")
        print(f"next    python -m captioner.predict model={result.model_file} images=PHOTOS")
    return 0


if __name__ == "__main__":
    run(train, "train")
