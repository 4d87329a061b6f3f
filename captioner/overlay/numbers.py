"""Formatting of numbers with two significant digits; no positive number is rounded to 0."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captioner.caption import Unit


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage with two significant digits, for example "83%" or "2.1%"."""
    value = 100 * share
    if value >= 9.95:
        return f"{value:.0f}%"
    if value >= 0.095:
        return f"{value:.1f}%"
    return "0%" if value <= 0 else "<0.1%"


def amount(value: float, unit: Unit) -> str:
    """The value of one cell with its unit, for example "6.7%", "−0.31 nats" or "0.0042"."""
    if unit == "attention":
        return percent(value)
    return two_digits(value) + (" nats" if unit == "nats" else "")


def two_digits(value: float) -> str:
    """A number with two significant digits, without an exponent from a ten-thousandth to a million."""
    size = abs(value)
    sign = "−" if value < 0 else ""
    if size == 0:
        return "0"
    if not 0.0000995 <= size < 999_500:
        mantissa, exponent = f"{size:.1e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}"
    decimals = max(0, 1 - math.floor(math.log10(size * 1.0000001)))
    return f"{sign}{size:.{decimals}f}"
