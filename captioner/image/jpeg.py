"""Fast decoding of JPEGs by libjpeg-turbo, with the extra `fast`.

Pillow contains the same library but copies the pixels through its own memory. The pixels are the same.

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
"""Whether simplejpeg is installed: `pip install captioner[fast]`."""

_MAX_BYTES = 64 * 2**20  # of a file read into memory; Pillow reads larger ones in blocks


def decode_fast(stream: IO[bytes], image: JpegImageFile) -> NDArray[np.uint8] | None:
    """Decode a colour JPEG at the size that Pillow chose for it.

    Args:
        stream: The file, at any position.
        image: The same file opened by Pillow, possibly at a reduced scale; not loaded.

    Returns:
        uint8 `[rows, cols, 3]`, RGB, as stored (not rotated), or None if Pillow must decode it: another kind of JPEG, a
        very large one, or an incomplete one, for which Pillow decides.
    """
    if not AVAILABLE or image.mode != "RGB":
        return None
    if stream.seek(0, io.SEEK_END) > _MAX_BYTES:
        return None
    stream.seek(0)
    data = stream.read()
    cols, rows = image.size
    try:
        pixels: NDArray[np.uint8] = _turbo.decode_jpeg(data, min_height=rows, min_width=cols)
    except ValueError:
        return None
    return pixels if pixels.shape == (rows, cols, 3) else None
