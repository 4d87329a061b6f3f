"""Photo reader: a photo in any form decoded and transformed for each model, safe in threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioner.errors import ImageError
from captioner.image.decode import Photo, read_photo
from captioner.image.geometry import ImageGeometry
from captioner.image.transforms import ImageTransform

Source = str | Path | bytes | Image.Image | NDArray[np.uint8] | Photo
"""A photo: a path, encoded bytes, a Pillow image, uint8 pixels `[H, W, 3]`, or an already decoded `Photo`."""

_UNNAMED = "the image given as bytes"  # what `read_photo` calls bytes in its messages


@dataclass(frozen=True, slots=True, eq=False)
class NamedPhoto:
    """An encoded photo in memory, such as a member of a tar: its name and the bytes of its file."""

    name: str
    content: bytes


GivenPhoto = Source | NamedPhoto | ImageError
"""A photo, or why there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadPhoto:
    """A photo as each model takes it.

    Attributes:
        index: The number it was given.
        photo: The decoded photo; None where it was decoded at a reduced scale.
        inputs: Pixels float32 `[3, rows, cols]` for each model.
        geometry: Where the first model's input lies on the photo.
    """

    index: int
    photo: Photo | None
    inputs: tuple[Tensor, ...]
    geometry: ImageGeometry


@dataclass(frozen=True, slots=True, eq=False)
class UnreadablePhoto:
    """A photo that cannot be read: the number it was given, and why."""

    index: int
    error: ImageError


class PhotoReader:
    """Reads numbered photos, one for each call.

    Args:
        transforms: The transform of each model.
        reduced: Decode large JPEGs at a reduced scale, at twice the largest input or more, and do not keep the photo.
    """

    def __init__(self, transforms: Sequence[ImageTransform], *, reduced: bool = False) -> None:
        self.transforms = tuple(transforms)
        self.reduced = reduced
        sizes = [transform.largest_size for transform in transforms]
        least = (2 * max(rows for rows, _ in sizes), 2 * max(cols for _, cols in sizes))
        self.min_size = least if reduced else None

    def __call__(self, numbered: tuple[int, GivenPhoto]) -> ReadPhoto | UnreadablePhoto:
        """The models' inputs, or why there are none; an error in place of a photo is passed on."""
        index, given = numbered
        try:
            photo = self._photo(given)
        except ImageError as error:
            return UnreadablePhoto(index, error)
        (pixels, geometry), *others = (transform(photo) for transform in self.transforms)
        inputs = (pixels, *(other for other, _ in others))
        return ReadPhoto(index, None if self.reduced else photo, inputs, geometry)

    def _photo(self, given: GivenPhoto) -> Photo:
        if isinstance(given, ImageError):
            raise given
        if isinstance(given, Photo):
            return given
        if isinstance(given, NamedPhoto):
            return decode_named(given, self.min_size)
        return read_photo(given, min_size=self.min_size)


def decode_named(photo: NamedPhoto, min_size: tuple[int, int] | None) -> Photo:
    """Decode an encoded photo in memory; `min_size` as in `read_photo`.

    Raises:
        ImageError: If it cannot be decoded; the message names the photo.
    """
    try:
        return read_photo(photo.content, min_size=min_size)
    except ImageError as error:
        raise ImageError(str(error).replace(_UNNAMED, photo.name, 1)) from error
