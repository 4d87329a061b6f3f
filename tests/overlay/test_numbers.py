from __future__ import annotations

import pytest

from captioner.overlay.numbers import amount, percent, two_digits


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (1e-9, "<0.1%"),
        (0.0009, "<0.1%"),
        (0.001, "0.1%"),
        (0.0204, "2.0%"),
        (0.0994, "9.9%"),
        (0.0996, "10%"),
        (0.834, "83%"),
        (0.9999, "100%"),
        (1, "100%"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1.0"), (-0.25, "−0.25"), (0.0994, "0.099"), (9.94, "9.9"), (99.6, "100"), (123.4, "123"),
        (0.00123, "0.0012"), (0.00001234, "1.2e-5"), (-2.5e7, "−2.5e7"), (0.994, "0.99"),
    ],
)  # fmt: skip
def test_two_digits(value: float, text: str) -> None:
    assert two_digits(value) == text


def test_amounts_have_their_unit() -> None:
    assert [amount(0.42, unit) for unit in ("attention", "nats", "relevance")] == ["42%", "0.42 nats", "0.42"]
