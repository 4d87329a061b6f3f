"""How does a photo, in whatever form it comes, become what each model takes? `PhotoReader`, safe in threads."""

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
    """An encoded photo in memory, such as a member of a tar: what it is called, and the bytes of its file."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A photo as each model takes it.

    Attributes:
        index: The number it was given.
        photo: The decoded photo, if it was to be kept.
        inputs: Pixels float32 `[3, rows, cols]`, one of each model.
        geometry: Where the first model's input lies on the photo.
    """

    index: int
    photo: Photo | None
    inputs: tuple[Tensor, ...]
    geometry: ImageGeometry


@dataclass(frozen=True, slots=True, eq=False)
class Unreadable:
    """A photo that cannot be read: its number, and why."""

    index: int
    error: ImageError


class PhotoReader:
    """Reads one numbered photo after the other.

    Args:
        transforms: Of each model.
        small: Decode large JPEGs at a reduced scale, at twice the largest input or more; do not keep the photo.
    """

    def __init__(self, transforms: Sequence[ImageTransform], *, small: bool = False) -> None:
        self.transforms = tuple(transforms)
        self.small = small
        sizes = [transform.largest_size for transform in transforms]
        least = (2 * max(rows for rows, _ in sizes), 2 * max(cols for _, cols in sizes))
        self.min_size = least if small else None

    def __call__(self, numbered: tuple[int, Source | NamedPhoto | ImageError]) -> Ready | Unreadable:
        """What the models take, or why they cannot; an error in place of a photo is handed on."""
        index, source = numbered
        try:
            photo = self._photo(source)
        except ImageError as error:
            return Unreadable(index, error)
        (pixels, geometry), *others = (transform(photo) for transform in self.transforms)
        inputs = (pixels, *(other for other, _ in others))
        return Ready(index, None if self.small else photo, inputs, geometry)

    def _photo(self, source: Source | NamedPhoto | ImageError) -> Photo:
        if isinstance(source, ImageError):
            raise source
        if isinstance(source, Photo):
            return source
        if not isinstance(source, NamedPhoto):
            return read_photo(source, min_size=self.min_size)
        return decode_named(source, self.min_size)


def decode_named(photo: NamedPhoto, min_size: tuple[int, int] | None) -> Photo:
    """Decode an encoded photo in memory; `min_size` as in `read_photo`.

    Raises:
        ImageError: By the photo's name.
    """
    try:
        return read_photo(photo.content, min_size=min_size)
    except ImageError as error:
        raise ImageError(str(error).replace(_UNNAMED, photo.name, 1)) from error
