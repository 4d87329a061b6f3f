"""Are two photos the same, or nearly so? A digest of the file, and a hash of what it shows.

The hash is a difference hash (Krawetz 2013, "Kind of Like That") of 16 × 16 comparisons: is a place darker than the
one to its right? It stays when a photo is scaled, recompressed or made a little brighter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.errors import ImageError
from captioner.image.decode import Photo, read_photo

_SIDE = 16  # comparisons a side
_COLOURS = 8  # mean colours a side

ENOUGH = (4 * _SIDE, 4 * _SIDE)
"""(rows, cols) of pixels that a fingerprint needs: a large JPEG may be decoded at a reduced scale."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a photo is recognised by.

    Attributes:
        digest: SHA-256 of the file, 32 bytes; equal for equal files alone.
        bits: The difference hash, 32 bytes. None where the photo cannot be read.
        colours: 8 × 8 mean colours, RGB, 192 bytes: photos of little structure have like hashes. None likewise.
    """

    digest: bytes
    bits: bytes | None
    colours: bytes | None


def look(photo: Photo) -> tuple[bytes, bytes]:
    """The difference hash and the colours of a photo, as in `Fingerprint`."""
    image = Image.fromarray(photo.pixels)
    grey = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    values: NDArray[np.uint8] = np.asarray(grey)
    colours = image.resize((_COLOURS, _COLOURS), Image.Resampling.BOX)
    return np.packbits(values[:, :-1] < values[:, 1:]).tobytes(), colours.tobytes()


def fingerprint(path: Path) -> Fingerprint:
    """The fingerprint of a photo's file; of a file that is gone, that of an empty one."""
    try:
        return fingerprint_of(path.read_bytes())
    except OSError:
        return fingerprint_of(b"")


def fingerprint_of(data: bytes) -> Fingerprint:
    """The fingerprint of a photo, encoded as in a file."""
    digest = hashlib.sha256(data).digest()
    try:
        return Fingerprint(digest, *look(read_photo(data, min_size=ENOUGH)))
    except ImageError:
        return Fingerprint(digest, None, None)
