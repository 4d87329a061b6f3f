"""How is a share written for a person? As a percentage that never rounds something to nothing."""

from __future__ import annotations


def percent(share: float) -> str:
    """Write a share from 0 to 1 as a percentage of two meaningful digits, for example "83%" or "2.1%"."""
    value = 100 * share
    if value >= 9.95:
        return f"{value:.0f}%"
    if value >= 0.095:
        return f"{value:.1f}%"
    return "0%" if value <= 0 else "<0.1%"
