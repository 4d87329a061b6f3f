"""Range checks of search settings, which may come from a command line."""

from __future__ import annotations

import math

from captioner.errors import UsageError


def check_length(max_length: int) -> None:
    """Refuse a maximum length that is not an integer of at least 1.

    Raises:
        UsageError: Naming the value.
    """
    check_count("max_length", max_length, unit=" token")


def check_count(name: str, value: int, *, least: int = 1, unit: str = "") -> None:
    """Refuse a setting that is not an integer of at least `least`.

    Raises:
        UsageError: Naming the setting and its value.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name}={value!r} must be a whole number{' of tokens' if unit else ''}")
    if value < least:
        raise UsageError(f"{name}={value} must be at least {least}{unit}")


def check_number(
    name: str, value: float, *, most: float = math.inf, positive: bool = False, remedy: str = ""
) -> None:
    """Refuse a setting that is not a finite number in [0, most], or in (0, most] if `positive`.

    Raises:
        UsageError: Naming the setting, its value, the range and the remedy.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and 0 <= value <= most and not (positive and value == 0):
        return
    limit = f" and at most {most:g}" if math.isfinite(most) else ""
    raise UsageError(
        f"{name}={value!r} must be a finite number {'above' if positive else 'of at least'} 0{limit}"
        + (f"; {remedy}" if remedy else "")
    )
