"""Looks through a dataset before anyone trains on it: python -m captioner.doctor data=... data.root=..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captioner.cli import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def doctor(cfg: DictConfig) -> int:
    """Examine as `cfg` says; leaves a page and a contact sheet. Returns 1 if something serious was found."""
    from captioner.inspection.examine import examine

    return examine(cfg)


if __name__ == "__main__":
    run(doctor, "doctor")
