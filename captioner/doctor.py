"""Inspection of a dataset before training: python -m captioner.doctor data=... data.root=..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def doctor(cfg: DictConfig) -> int:
    """Inspect as configured; writes a page and a contact sheet. Returns 1 if there are serious findings."""
    from captioner.inspection.examine import examine

    return examine(cfg)


def main() -> None:
    """Run the command."""
    run(doctor, "doctor")


if __name__ == "__main__":
    main()
