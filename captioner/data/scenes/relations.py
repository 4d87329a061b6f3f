"""What do the spatial words mean? When a relation or a place holds, and when it is clear enough to be said.

A reference says only what is clear; a caption may say whatever holds. Between the two lies room in which a
model that has learned the meaning, but not the exact threshold, is not punished.
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

_CLEAR_RATIO = 1.5  # of the offset along the axis to the offset across it; 1 where the relation just holds
_CLEAR_SHARE = 0.08  # of the image side, on top of what just holds
_MIDDLE = 1 / 6  # the middle ninth of the picture


def relation_holds(words: str, one: Box, other: Box, *, clearly: bool = False) -> bool:
    """Whether `one` lies as the words say from `other`, judged by the centres of their boxes.

    Args:
        words: A key of `RELATIONS`.
        one: Box of the first object, (top, left, bottom, right) in pixels.
        other: Box of the second object.
        clearly: Ask for an offset in that direction 1.5 times the offset across it, instead of just larger.

    Returns:
        Whether it holds. At exactly 45° nothing holds.
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
        clearly: Ask for 8 % of the image side to spare.

    Returns:
        Whether it holds.
    """
    rows = (box[0] + box[2]) / (2 * image_size) - 0.5
    columns = (box[1] + box[3]) / (2 * image_size) - 0.5
    spare = _CLEAR_SHARE if clearly else 0.0
    down, right = PLACES[words]
    if not down and not right:
        return max(abs(rows), abs(columns)) < _MIDDLE - spare
    return (not down or rows * down > spare) and (not right or columns * right > spare)
