from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from captioner.caption import Caption, Unit
from captioner.overlay.colour import AGAINST, COLOURS, FOR
from captioner.overlay.legend import note, ramp, ticks
from captioner.overlay.map_selection import MapSelection, select_maps

MakeCaption = Callable[..., Caption]


def test_the_scale_goes_from_its_least_to_its_most() -> None:
    np.testing.assert_array_equal(ramp(256, signed=False), COLOURS)
    signed = ramp(511, signed=True)
    np.testing.assert_array_equal(signed[255:], FOR)
    np.testing.assert_array_equal(signed[:255], AGAINST[:0:-1])


@pytest.mark.parametrize(
    ("unit", "low", "expected"),
    [
        ("attention", 0.0, ["0", "12%"]),
        ("nats", -0.25, ["−0.25 nats", "0", "0.25 nats"]),
        ("relevance", 0.0, ["0", "0.12"]),
    ],
)
def test_its_ends_are_written(unit: Unit, low: float, expected: list[str]) -> None:
    shown = MapSelection(np.array([[[low, 0.12]], [[0.06, 0]]], np.float32), "grad cam", unit)
    assert [text for _, text in ticks(shown, 0, "caption")] == expected
    assert ticks(shown, 1, "word")[-1][1].startswith(("6.0%", "0.06"))
    assert ticks(shown, None, "word")[-1] == (1.0, "the word's own maximum")


def test_the_note_says_what_a_colour_means(make_caption: MakeCaption) -> None:
    caption = make_caption(view=(0, 10, 60, 70))
    assert note(caption, select_maps(caption)) == (
        "Share of a word's attention on one of 4 by 5 cells. Spread evenly, each would get 5.0%. "
        "Hatched parts were cropped away."
    )
    assert "(attention, layer 2)." in note(caption, select_maps(caption, layer=2))
    signed = MapSelection(np.array([[[-1, 1]]], np.float32), "occlusion", "nats")
    assert note(make_caption("dog"), signed) == (
        "Occlusion: nats of a word's log-probability due to one of 1 by 2 cells. "
        "Orange: for the word; blue: against it."
    )
    relevance = MapSelection(np.array([[[0, 1]]], np.float32), "grad cam", "relevance")
    assert (
        note(make_caption("dog"), relevance)
        == "Grad cam: relevance of one of 1 by 2 cells for a word, without a unit."
    )
