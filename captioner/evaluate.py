"""Captions a split and scores it: python -m captioner.evaluate model=FILE data=... split=..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig) -> int:
    """Evaluate as `cfg` says; leaves scores.json, captions.jsonl, a page. Returns 1 if an image could not be read."""
    from captioner.evaluation.distributed import run_in_team
    from captioner.evaluation.split import evaluate_in_team

    return run_in_team(evaluate_in_team, cfg, processes=cfg.processes)


if __name__ == "__main__":
    run(evaluate, "evaluate")
