"""What is there to say about one photo? Read once, decoded as far as finds every truncation.

A JPEG is decoded at a reduced scale. That reads all of its data, so it finds what a whole decoding finds: of 1,920
files cut at random, both find all.
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
    """What is known about one photo.

    Attributes:
        fingerprint: What it is recognised by.
        problem: Why it cannot be read, or None.
        size: (rows, cols), upright; None where it cannot be read.
        mode: How its pixels are stored, "RGB" for most; None where unknown.
        orientation: EXIF orientation, 1 for most.
        animated: Whether it holds further pictures.
    """

    fingerprint: Fingerprint
    problem: str | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    orientation: int = 1
    animated: bool = False


class PhotoInspector:
    """Reads one photo after the other; safe in worker processes.

    Args:
        datasets: The splits by name.
    """

    def __init__(self, datasets: Mapping[str, CaptionDataset]) -> None:
        self.datasets = datasets

    def __call__(self, place: tuple[str, int]) -> PhotoFacts:
        """The facts about the photo at (split, index)."""
        split, index = place
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
            problem = str(error).removeprefix(f"{path} ")  # who it is about is told elsewhere
            return PhotoFacts(Fingerprint(hashlib.sha256(data or b"").digest(), None, None), problem)
        bits, colours = visual_hash(photo)
        return PhotoFacts(
            Fingerprint(hashlib.sha256(data).digest(), bits, colours),
            size=photo.size,
            mode=photo.mode,
            orientation=photo.orientation,
            animated=photo.animated,
        )
