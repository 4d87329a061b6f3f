"""How is a JPEG decoded where time matters? By libjpeg-turbo itself, where the extra `fast` brought it.

Pillow has the same library inside, but passes the pixels on through its own memory. The pixels are the same.

Source: simplejpeg, a binding of libjpeg-turbo.
"""

from __future__ import annotations

import importlib
import io
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

try:
    _turbo: Any = importlib.import_module("simplejpeg")
except ImportError:
    _turbo = None

AVAILABLE = _turbo is not None
"""Whether it can be used here: `pip install captioner[fast]`."""

_LARGEST = (
    64 * 2**20
)  # bytes of a file that are held in memory at once; Pillow reads larger ones piece by piece


def decode_fast(stream: IO[bytes], image: JpegImageFile) -> NDArray[np.uint8] | None:
    """Decode a colour JPEG at the size that Pillow chose for it.

    Args:
        stream: The file, at any place.
        image: The same file opened by Pillow, perhaps at a reduced scale; not loaded.

    Returns:
        uint8 `[rows, cols, 3]`, RGB, as stored (not turned), or None where Pillow must do it: another kind of JPEG, a
        very large one, or one that is not quite whole, on which Pillow has the word.
    """
    if not AVAILABLE or image.mode != "RGB":
        return None
    if stream.seek(0, io.SEEK_END) > _LARGEST:
        return None
    stream.seek(0)
    data = stream.read()
    cols, rows = image.size
    try:
        pixels: NDArray[np.uint8] = _turbo.decode_jpeg(data, min_height=rows, min_width=cols)
    except ValueError:
        return None
    return pixels if pixels.shape == (rows, cols, 3) else None
