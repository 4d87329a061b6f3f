"""How do upright pixels become the model's input, and where on the photo did that input lie?

A photo is cut or scaled in one step: the part that the model sees is taken at full resolution and resized
once, with antialiasing. What was done is returned as an `ImageGeometry`, so that maps can be brought back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from captioner.errors import ModelFileError, UsageError
from captioner.image.decode import Photo
from captioner.image.geometry import ImageGeometry

Fit = Literal["crop", "pad", "squash", "native"]
Interpolation = Literal["bilinear", "bicubic"]
_LONGEST = 4  # times the short side, of a native input; what is longer is squashed to that
_MAX_SIDE = 4096  # far beyond any encoder; a size from a damaged file must not allocate gigabytes


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """Turns a photo into the model's input. The same in training, prediction and overlays.

    Attributes:
        size: (rows, cols) of the model input, in pixels; of a native one, as many pixels as it may have at most.
        fit: How a photo of another shape is brought to `size`: "crop" shows the largest centred part of the
            input's shape, "pad" shows all of it and fills the rest with the mean colour, "squash" shows all
            of it distorted, "native" shows all of it in its own shape: rows and cols follow the photo.
        mean: Subtracted from the red, green and blue values, which are scaled to 0–1.
        std: Divides what is left.
        interpolation: "bilinear" or "bicubic", both antialiased.
        step: (rows, cols) of which a native input's sides are multiples, such as a ViT's patch.

    Raises:
        UsageError: A value is out of range.
    """

    size: tuple[int, int]
    _: KW_ONLY
    fit: Fit
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    step: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        # Lists, as they come from YAML and JSON, become tuples so that equal transforms compare equal.
        object.__setattr__(self, "size", _numbers("size", self.size, 2, 1, _MAX_SIDE, int))
        object.__setattr__(self, "mean", _numbers("mean", self.mean, 3, 0.0, 1.0, float))
        object.__setattr__(self, "std", _numbers("std", self.std, 3, 1e-3, 10.0, float))
        object.__setattr__(self, "step", _numbers("step", self.step, 2, 1, min(self.size), int))
        _choice("fit", self.fit, get_args(Fit))
        _choice("interpolation", self.interpolation, get_args(Interpolation))

    def __call__(self, photo: Photo) -> tuple[Tensor, ImageGeometry]:
        """Make the model's input from a photo of any size.

        Args:
            photo: The decoded photo.

        Returns:
            float32 `[3, rows, cols]`, normalised, and where on the photo it lies.
        """
        height, width = photo.pixels.shape[:2]
        size = self.input_size(*photo.size)
        rows, cols = self.seen_size(height, width)
        top, left = (height - rows) // 2, (width - cols) // 2
        inner = self.inner_size(rows, cols, size)
        image = self.resize(photo.pixels[top : top + rows, left : left + cols], inner).float()
        # One model-input pixel covers so many decoded pixels; padding continues the grid of the part inside.
        step = (rows / inner[0], cols / inner[1])
        pad = _padding(inner, size)
        start = (top - pad[0] * step[0], left - pad[1] * step[1])
        end = (start[0] + size[0] * step[0], start[1] + size[1] * step[1])
        # From decoded to full-size pixels; they differ where a JPEG was decoded at a reduced scale.
        scale = (photo.size[0] / height, photo.size[1] / width)
        view = (start[0] * scale[0], start[1] * scale[1], end[0] * scale[0], end[1] * scale[1])
        return self.finish(image, size), ImageGeometry(photo.size, photo.orientation, view, size)

    @property
    def largest_size(self) -> tuple[int, int]:
        """The (rows, cols) that no input exceeds: `size`, but for "native"."""
        if self.fit != "native":
            return self.size
        side = math.ceil(math.sqrt(self.size[0] * self.size[1] * _LONGEST))
        return side, side

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The (rows, cols) of the input that a `height` × `width` photo becomes: `size`, but for "native"."""
        if self.fit != "native":
            return self.size
        most = self.size[0] * self.size[1] // (self.step[0] * self.step[1])
        aspect = (
            min(max(height / width, 1 / _LONGEST), _LONGEST) * self.step[1] / self.step[0]
        )  # rows / cols, in steps
        rows = math.ceil(math.sqrt(most * aspect)) + 1
        # As many rows as leave room for the columns that go with them.
        while rows > 1 and rows * max(1, round(rows / aspect)) > most:
            rows -= 1
        cols = min(most, max(1, round(rows / aspect)))
        return rows * self.step[0], cols * self.step[1]

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """The (rows, cols) of a `height` × `width` photo that the model sees: all of it, but for "crop"."""
        if self.fit != "crop":
            return height, width
        rows, cols = self.size
        return (
            min(height, max(1, round(width * rows / cols))),
            min(width, max(1, round(height * cols / rows))),
        )

    def inner_size(self, rows: int, cols: int, size: tuple[int, int]) -> tuple[int, int]:
        """The part of an input of `size` that `rows` × `cols` seen pixels fill: all of it, but for "pad"."""
        if self.fit != "pad":
            return size
        scale = min(size[0] / rows, size[1] / cols)
        return max(1, round(rows * scale)), max(1, round(cols * scale))

    def resize(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
        """Resize uint8 pixels `[h, w, 3]` to a uint8 tensor `[3, *size]`, with antialiasing."""
        # [h, w, 3] -> [3, h, w] without a copy: the resize kernel is fastest on this memory layout.
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        mode = InterpolationMode(self.interpolation)
        resized: Tensor = resize(image, list(size), interpolation=mode, antialias=True)
        return resized

    def finish(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Normalise a float32 `[3, rows, cols]` tensor of values 0–255 in place and pad it to `size`."""
        return _place(image.sub_(_levels(self.mean)).div_(_levels(self.std)), size)

    def finish_mixed(
        self, image: Tensor, size: tuple[int, int], matrix: Sequence[Sequence[float]], offset: float
    ) -> Tensor:
        """Mix the colours of a photo, clip them to 0–255, normalise and pad: as `finish`, in one go.

        Args:
            image: float32 `[3, rows, cols]`, values 0–255, contiguous.
            size: Of the input.
            matrix: 3 × 3: each new colour from all old ones.
            offset: Added to each new colour.
        """
        # (matrix @ image + offset - mean) / std; the limits are normalised instead of the pixels. In plain numbers:
        # for so few of them every operation on tensors costs more than the arithmetic.
        scales = [255 * std for std in self.std]
        rows = [
            [*(value / scale for value in row), offset / scale - mean / std]
            for row, scale, mean, std in zip(matrix, scales, self.mean, self.std, strict=True)
        ]
        mixing = torch.tensor(rows)  # [3, 4]
        mixed = torch.addmm(mixing[:, 3:], mixing[:, :3], image.view(3, -1))  # [3, 3] @ [3, rows·cols]
        low, high = _limits(self.mean, self.std)
        torch.maximum(mixed, low, out=mixed)
        torch.minimum(mixed, high, out=mixed)
        return _place(mixed.view_as(image), size)

    def spec(self) -> dict[str, object]:
        """The transform as JSON values; `from_spec` makes it again."""
        spec: dict[str, object] = {
            "size": list(self.size),
            "fit": self.fit,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }
        return {**spec, "step": list(self.step)} if self.fit == "native" else spec

    @staticmethod
    def from_spec(spec: Mapping[str, object]) -> ImageTransform:
        """Make the transform that `spec` describes.

        Args:
            spec: JSON values as given by `spec()`.

        Returns:
            The transform.

        Raises:
            ModelFileError: A field is missing, unknown or out of range.
        """
        fields = ["size", "fit", "mean", "std", "interpolation"]
        if isinstance(spec, Mapping) and spec.get("fit") == "native":
            fields.append("step")
        if not isinstance(spec, Mapping) or set(spec) != set(fields):
            found = ", ".join(map(str, spec)) if isinstance(spec, Mapping) else type(spec).__name__
            raise ModelFileError(f"the image transform needs the fields {', '.join(fields)}; found: {found}")
        try:
            return ImageTransform(
                spec["size"],  # type: ignore[arg-type]  # checked by __post_init__
                fit=spec["fit"],  # type: ignore[arg-type]
                mean=spec["mean"],  # type: ignore[arg-type]
                std=spec["std"],  # type: ignore[arg-type]
                interpolation=spec["interpolation"],  # type: ignore[arg-type]
                step=spec.get("step", (1, 1)),  # type: ignore[arg-type]
            )
        except UsageError as error:
            raise ModelFileError(f"the image transform cannot be used: {error}") from error


def same_size(inputs: Sequence[Tensor | Sequence[Tensor]]) -> list[list[int]]:
    """Which photos can stand in one batch: places of those whose inputs are of one size, in order of the first.

    Args:
        inputs: Of each photo its input `[3, rows, cols]`, or those of several models.
    """
    found: dict[tuple[torch.Size, ...], list[int]] = {}
    for place, one in enumerate(inputs):
        of_models = (one,) if isinstance(one, Tensor) else one
        found.setdefault(tuple(pixels.shape for pixels in of_models), []).append(place)
    return list(found.values())


def _padding(inner: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of the part inside."""
    return (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2


def _place(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A normalised `[3, rows, cols]` tensor in the middle of `size`."""
    inner = (image.shape[1], image.shape[2])
    if inner == size:
        return image.contiguous()
    top, left = _padding(inner, size)
    padded = torch.zeros(3, *size)  # 0 is the mean colour
    padded[:, top : top + inner[0], left : left + inner[1]] = image
    return padded


@functools.cache
def _levels(values: tuple[float, ...]) -> Tensor:
    """Values of 0–1 a channel as grey levels, float32 `[3, 1, 1]`; shared, not to be changed."""
    return torch.tensor(values).mul_(255)[:, None, None]


@functools.cache
def _limits(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Black and white normalised, each float32 `[3, 1]`; shared, not to be changed."""
    black, white = (_levels((value,) * 3).view(3, 1) for value in (0.0, 1.0))
    return tuple((level - _levels(mean).view(3, 1)) / _levels(std).view(3, 1) for level in (black, white))  # type: ignore[return-value]


def _numbers(
    name: str, values: object, count: int, low: float, high: float, kind: type[int] | type[float]
) -> tuple[float, ...]:
    allowed = int if kind is int else (int, float)
    if (
        not isinstance(values, Sequence)
        or len(values) != count
        or not all(isinstance(v, allowed) and not isinstance(v, bool) and low <= v <= high for v in values)
    ):
        what = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{name} is {values!r}; it must be {count} {what} from {low:g} to {high:g}")
    return tuple(kind(v) for v in values)


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}; choices: {', '.join(choices)}")
