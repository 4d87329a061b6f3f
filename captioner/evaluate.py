"""Captioning and scoring of a split: python -m captioner.evaluate model=FILE data=... split=..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig) -> int:
    """Evaluate as configured; writes scores.json, captions.jsonl and a page. Returns 1 if an image is unreadable."""
    from captioner.evaluation.distributed import run_processes
    from captioner.evaluation.split import evaluate_process

    return run_processes(evaluate_process, cfg, processes=cfg.processes)


def main() -> None:
    """Run the command."""
    run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
