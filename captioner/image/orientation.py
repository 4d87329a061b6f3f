"""The eight EXIF orientations on arrays: from stored to upright pixels and back.

Source: EXIF 2.32 (CIPA DC-008), tag 0x0112 "Orientation".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Orientations 5–8 exchange rows and columns. All are their own inverse except 6 and 8, which undo each other.
_INVERSE = {6: 8, 8: 6}


def swaps_axes(orientation: int) -> bool:
    """Whether rotating a photo of this EXIF `orientation` (1–8) upright exchanges rows and columns."""
    return orientation >= 5


def to_upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rotate an array from its order in the file to upright.

    Args:
        stored: `[rows, cols, ...]` of any type.
        orientation: EXIF orientation, 1–8.

    Returns:
        The upright array, a view where possible; `[cols, rows, ...]` for orientations 5–8.
    """
    match orientation:
        case 1:
            return stored
        case 2:  # mirrored left to right
            return stored[:, ::-1]
        case 3:  # upside down
            return stored[::-1, ::-1]
        case 4:  # mirrored top to bottom
            return stored[::-1]
        case 5:  # mirrored along the main diagonal
            return stored.swapaxes(0, 1)
        case 6:  # needs a quarter turn clockwise
            return np.rot90(stored, -1)
        case 7:  # mirrored along the other diagonal
            return stored[::-1, ::-1].swapaxes(0, 1)
        case 8:  # needs a quarter turn counter-clockwise
            return np.rot90(stored, 1)
        case _:
            raise ValueError(f"EXIF orientation is {orientation}; it must be 1 to 8")


def to_stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `to_upright`: an upright `[rows, cols, ...]` array in the order of the file."""
    return to_upright(upright, _INVERSE.get(orientation, orientation))
