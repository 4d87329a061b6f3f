from __future__ import annotations

import pytest

from captioner.overlay.numbers import percent


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
