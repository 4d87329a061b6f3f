"""Fingerprints of photos: a digest of the file and a perceptual hash, to detect near-identical photos.

The hash is a difference hash (Krawetz 2013, "Kind of Like That") of 16 × 16 comparisons: each bit says whether a pixel
of the reduced photo is darker than its right neighbour. It is stable under scaling, recompression and slight
brightening.
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

_SIDE = 16  # comparisons per side
_COLOURS = 8  # mean colours per side

MIN_PIXELS = (4 * _SIDE, 4 * _SIDE)
"""Least (rows, cols) of pixels for a fingerprint: a large JPEG may be decoded at a reduced scale."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digest and perceptual hash of a photo.

    Attributes:
        digest: SHA-256 of the file, 32 bytes; equal only for equal files.
        bits: The difference hash, 32 bytes. None where the photo cannot be read.
        colours: 8 × 8 mean colours, RGB, 192 bytes: photos with little structure have similar hashes. None likewise.
    """

    digest: bytes
    bits: bytes | None
    colours: bytes | None


def visual_hash(photo: Photo) -> tuple[bytes, bytes]:
    """The difference hash and the mean colours of a photo, as in `Fingerprint`."""
    image = Image.fromarray(photo.pixels)
    grey = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    values: NDArray[np.uint8] = np.asarray(grey)
    colours = image.resize((_COLOURS, _COLOURS), Image.Resampling.BOX)
    return np.packbits(values[:, :-1] < values[:, 1:]).tobytes(), colours.tobytes()


def fingerprint(path: Path) -> Fingerprint:
    """The fingerprint of a photo's file; for a missing file, that of an empty one."""
    try:
        return fingerprint_of(path.read_bytes())
    except OSError:
        return fingerprint_of(b"")


def fingerprint_of(data: bytes) -> Fingerprint:
    """The fingerprint of a photo, encoded as in a file."""
    digest = hashlib.sha256(data).digest()
    try:
        return Fingerprint(digest, *visual_hash(read_photo(data, min_size=MIN_PIXELS)))
    except ImageError:
        return Fingerprint(digest, None, None)
