"""Meaning of spatial words: when a relation or a place holds, and when it holds clearly.

References claim only what holds clearly; a caption is true if its claims hold. The margin between the two spares a
model that has learned the meaning but not the exact threshold.
"""

from __future__ import annotations

from captioner.data.scenes.world import Box

# Words → (rows, columns): the direction in which the first object lies from the second.
RELATIONS: dict[str, tuple[int, int]] = {
    "to the left of": (0, -1),
    "left of": (0, -1),
    "to the right of": (0, 1),
    "right of": (0, 1),
    "above": (-1, 0),
    "over": (-1, 0),
    "below": (1, 0),
    "under": (1, 0),
}

# Words → (rows, columns): the direction in which the object lies from the middle of the picture.
PLACES: dict[str, tuple[int, int]] = {
    "in the top left": (-1, -1),
    "in the top right": (-1, 1),
    "in the bottom left": (1, -1),
    "in the bottom right": (1, 1),
    "at the top": (-1, 0),
    "at the bottom": (1, 0),
    "on the left": (0, -1),
    "on the right": (0, 1),
    "in the middle": (0, 0),
}

_CLEAR_RATIO = 1.5  # offset along the axis over offset across it; above 1 the relation holds
_CLEAR_SHARE = 0.08  # of the image side, beyond the threshold
_MIDDLE = 1 / 6  # the middle ninth of the picture


def relation_holds(words: str, one: Box, other: Box, *, clearly: bool = False) -> bool:
    """Whether the relation holds between the centres of the boxes `one` and `other`.

    Args:
        words: A key of `RELATIONS`.
        one: Box of the first object, (top, left, bottom, right) in pixels.
        other: Box of the second object.
        clearly: Require an offset in that direction 1.5 times the offset across it, instead of a larger one.

    Returns:
        Whether it holds. At exactly 45° no relation holds.
    """
    rows = (one[0] + one[2] - other[0] - other[2]) / 2
    columns = (one[1] + one[3] - other[1] - other[3]) / 2
    down, right = RELATIONS[words]
    along = rows * down + columns * right
    across = abs(rows) if right else abs(columns)
    return along > across * (_CLEAR_RATIO if clearly else 1)


def place_holds(words: str, box: Box, image_size: int, *, clearly: bool = False) -> bool:
    """Whether a box's centre lies in the half, quarter or middle ninth of the picture that the words name.

    Args:
        words: A key of `PLACES`.
        box: (top, left, bottom, right) in pixels.
        image_size: Height and width of the picture in pixels.
        clearly: Require a margin of 8 % of the image side.

    Returns:
        Whether it holds.
    """
    rows = (box[0] + box[2]) / (2 * image_size) - 0.5
    columns = (box[1] + box[3]) / (2 * image_size) - 0.5
    margin = _CLEAR_SHARE if clearly else 0.0
    down, right = PLACES[words]
    if not down and not right:
        return max(abs(rows), abs(columns)) < _MIDDLE - margin
    return (not down or rows * down > margin) and (not right or columns * right > margin)
