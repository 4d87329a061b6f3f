"""Captions a split and scores it: python -m captioner.evaluate model=FILE data=... split=..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig) -> int:
    """Evaluate as `cfg` says; leaves scores.json, captions.jsonl, a page. Returns 1 if an image could not be read."""
    from captioner.evaluation.distributed import run_processes
    from captioner.evaluation.split import evaluate_process

    return run_processes(evaluate_process, cfg, processes=cfg.processes)


if __name__ == "__main__":
    run(evaluate, "evaluate")
