from __future__ import annotations

import numpy as np
import pytest

from captioner.caption import Caption, Word
from captioner.evaluation.measures.pointing import NamedBoxes, PointingResult, covered, peak, pointing_game
from captioner.image.geometry import Box, ImageGeometry

SQUARE = ImageGeometry((100, 200), 1, (0.0, 50.0, 100.0, 150.0), (32, 32))  # the middle of a wide photo


def caption(*peaks: tuple[int, int], geometry: ImageGeometry = SQUARE) -> Caption:
    """A caption whose word k looks at the cell `peaks[k]` of a 4 x 5 grid."""
    maps = np.full((len(peaks), 1, 1, 4, 5), 0.01, np.float32)
    for k, (row, col) in enumerate(peaks):
        maps[k, 0, 0, row, col] = 0.5
    words = tuple(Word(f"w{k}", -1.0, 0.7, own[0, 0]) for k, own in enumerate(maps))
    return Caption(" ".join(word.text for word in words), words, -1.0, -2.0, maps, geometry)


def test_a_peak_is_the_centre_of_its_cell_on_the_photo() -> None:
    # The view is 100 x 100 pixels from column 50; a cell is 25 x 20.
    assert peak(caption((0, 0), (2, 3)), 0) == (12.5, 60.0)
    assert peak(caption((0, 0), (2, 3)), 1) == (62.5, 120.0)


@pytest.mark.parametrize(
    ("boxes", "hit"),
    [
        (((50.0, 100.0, 75.0, 130.0),), True),
        (((0.0, 0.0, 10.0, 10.0), (60.0, 110.0, 70.0, 125.0)), True),
        (((0.0, 0.0, 60.0, 200.0),), False),
        (((62.5, 120.0, 63.0, 121.0),), True),  # half-open: the first edge belongs to it
        (((50.0, 100.0, 62.5, 130.0),), False),  # the last does not
        ((), False),  # what names nothing is a miss
    ],
)
def test_a_hit_is_a_peak_inside_a_box(boxes: tuple[Box, ...], hit: bool) -> None:
    result = pointing_game([caption((0, 0), (2, 3))], [[NamedBoxes(1, boxes)]])
    assert (result.hits, result.nouns) == (int(hit), 1)


def test_every_noun_of_every_caption_counts() -> None:
    everywhere = (0.0, 0.0, 100.0, 200.0)
    result = pointing_game(
        [caption((0, 0), (1, 1)), caption(), caption((3, 4))],
        [[NamedBoxes(0, (everywhere,)), NamedBoxes(1, ())], [], [NamedBoxes(0, (everywhere,))]],
    )
    assert result == PointingResult(hits=2, nouns=3, chance=pytest.approx(2 / 3))  # type: ignore[arg-type]
    assert result.accuracy == pytest.approx(2 / 3)
    assert pointing_game([], []).accuracy == 0
    with pytest.raises(ValueError, match="shorter"):
        pointing_game([caption((0, 0))], [])


def test_chance_is_what_a_random_place_would_hit() -> None:
    boxes = ((10.0, 20.0, 60.0, 120.0), (40.0, 100.0, 90.0, 180.0), (95.0, 190.0, 130.0, 260.0))
    rng = np.random.default_rng(0)
    places = rng.random((40_000, 2)) * SQUARE.size
    inside = np.zeros(len(places), bool)
    for top, left, bottom, right in boxes:
        inside |= (places >= (top, left)).all(1) & (places < (bottom, right)).all(1)
    assert covered(boxes, SQUARE) == pytest.approx(inside.mean(), abs=0.01)
    assert pointing_game([caption((0, 0))], [[NamedBoxes(0, boxes)]]).chance == covered(boxes, SQUARE)


def test_a_box_beside_the_photo_covers_nothing() -> None:
    beside = ((-30.0, 0.0, -10.0, 200.0), (0.0, -9.0, 100.0, -3.0), (120.0, 0.0, 130.0, 10.0))
    assert covered(beside, SQUARE) == 0
