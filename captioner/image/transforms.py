"""Transform of upright pixels to the model's input, with the geometry to map back.

A photo is cropped and scaled in one step: the visible part is taken at full resolution and resized once, with
antialiasing. The `ImageGeometry` of the result maps attention back to the photo.
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

from captioner.errors import ModelFileError, UsageError, did_you_mean
from captioner.image.decode import Photo
from captioner.image.geometry import ImageGeometry

Fit = Literal["crop", "pad", "squash", "native"]
Interpolation = Literal["bilinear", "bicubic"]
_MAX_ASPECT = 4  # of a native input; longer photos are squashed to it
_MAX_SIDE = 4096  # beyond any encoder; a size from a damaged file must not allocate gigabytes


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """Converts a photo to the model's input. The same in training, prediction and overlays.

    Attributes:
        size: (rows, cols) of the model input, in pixels; of a native one, rows × cols is the largest number of pixels.
        fit: The conversion of a photo of another shape to `size`: "crop" takes the largest centred part of the
            input's shape, "pad" takes all of it and fills the rest with the mean colour, "squash" takes all of it
            distorted, "native" takes all of it in its own shape: rows and cols follow the photo.
        mean: Subtracted from the red, green and blue values, which are scaled to 0–1.
        std: Divisor of the red, green and blue values after subtracting `mean`.
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
        # Lists from YAML and JSON become tuples, so that equal transforms compare equal.
        object.__setattr__(self, "size", _numbers("size", self.size, 2, 1, _MAX_SIDE, int))
        object.__setattr__(self, "mean", _numbers("mean", self.mean, 3, 0.0, 1.0, float))
        object.__setattr__(self, "std", _numbers("std", self.std, 3, 1e-3, 10.0, float))
        object.__setattr__(self, "step", _numbers("step", self.step, 2, 1, min(self.size), int))
        _choice("fit", self.fit, get_args(Fit))
        _choice("interpolation", self.interpolation, get_args(Interpolation))

    def __call__(self, photo: Photo) -> tuple[Tensor, ImageGeometry]:
        """Convert a photo of any size to the model's input.

        Args:
            photo: The decoded photo.

        Returns:
            float32 `[3, rows, cols]`, normalised, and its position on the photo.
        """
        height, width = photo.pixels.shape[:2]
        size = self.input_size(*photo.size)
        rows, cols = self.visible_size(height, width)
        top, left = (height - rows) // 2, (width - cols) // 2
        inner = self.inner_size(rows, cols, size)
        image = self.resize(photo.pixels[top : top + rows, left : left + cols], inner).float()
        # Decoded pixels per pixel of the model input; padding extends the grid of the inner part.
        step = (rows / inner[0], cols / inner[1])
        pad = _padding(inner, size)
        start = (top - pad[0] * step[0], left - pad[1] * step[1])
        end = (start[0] + size[0] * step[0], start[1] + size[1] * step[1])
        # From decoded to full-size pixels; they differ if a JPEG was decoded at a reduced scale.
        scale = (photo.size[0] / height, photo.size[1] / width)
        view = (start[0] * scale[0], start[1] * scale[1], end[0] * scale[0], end[1] * scale[1])
        return self.finish(image, size), ImageGeometry(photo.size, photo.orientation, view, size)

    @property
    def largest_size(self) -> tuple[int, int]:
        """The largest (rows, cols) of an input: `size`, except for "native"."""
        if self.fit != "native":
            return self.size
        side = math.ceil(math.sqrt(self.size[0] * self.size[1] * _MAX_ASPECT))
        return side, side

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The (rows, cols) of the input of a `height` × `width` photo: `size`, except for "native"."""
        if self.fit != "native":
            return self.size
        most = self.size[0] * self.size[1] // (self.step[0] * self.step[1])
        aspect = (
            min(max(height / width, 1 / _MAX_ASPECT), _MAX_ASPECT) * self.step[1] / self.step[0]
        )  # rows / cols, in steps
        rows = math.ceil(math.sqrt(most * aspect)) + 1
        # The most rows whose columns fit.
        while rows > 1 and rows * max(1, round(rows / aspect)) > most:
            rows -= 1
        cols = min(most, max(1, round(rows / aspect)))
        return rows * self.step[0], cols * self.step[1]

    def visible_size(self, height: int, width: int) -> tuple[int, int]:
        """The visible (rows, cols) of a `height` × `width` photo: all of it, except for "crop"."""
        if self.fit != "crop":
            return height, width
        rows, cols = self.size
        return (
            min(height, max(1, round(width * rows / cols))),
            min(width, max(1, round(height * cols / rows))),
        )

    def inner_size(self, rows: int, cols: int, size: tuple[int, int]) -> tuple[int, int]:
        """The part of an input of `size` that `rows` × `cols` visible pixels fill: all of it, except for "pad"."""
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
        return _pad(image.sub_(_levels(self.mean)).div_(_levels(self.std)), size)

    def finish_mixed(
        self, image: Tensor, size: tuple[int, int], matrix: Sequence[Sequence[float]], offset: float
    ) -> Tensor:
        """Transform the colours of a photo linearly, clip them to 0–255, normalise and pad, as `finish`, in one step.

        Args:
            image: float32 `[3, rows, cols]`, values 0–255, contiguous.
            size: (rows, cols) of the input.
            matrix: 3 × 3: each new channel from all old ones.
            offset: Added to each new channel.
        """
        # (matrix @ image + offset - mean) / std; the limits are normalised instead of the pixels. In Python
        # numbers: for so few values every tensor operation costs more than the arithmetic.
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
        return _pad(mixed.view_as(image), size)

    def spec(self) -> dict[str, object]:
        """The transform as JSON values, for `from_spec`."""
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
        """The transform that `spec` describes.

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
    """Groups of photos that can form one batch: indices of those with inputs of one size, in order of the first.

    Args:
        inputs: The input `[3, rows, cols]` of each photo, or its inputs for several models.
    """
    groups: dict[tuple[torch.Size, ...], list[int]] = {}
    for index, each in enumerate(inputs):
        of_models = (each,) if isinstance(each, Tensor) else each
        groups.setdefault(tuple(pixels.shape for pixels in of_models), []).append(index)
    return list(groups.values())


def _padding(inner: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of the inner part."""
    return (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2


def _pad(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A normalised `[3, rows, cols]` tensor, centred in `size`."""
    inner = (image.shape[1], image.shape[2])
    if inner == size:
        return image.contiguous()
    top, left = _padding(inner, size)
    padded = torch.zeros(3, *size)  # 0 is the mean colour
    padded[:, top : top + inner[0], left : left + inner[1]] = image
    return padded


@functools.cache
def _levels(values: tuple[float, ...]) -> Tensor:
    """Values 0–1 per channel as grey levels, float32 `[3, 1, 1]`; shared, must not be modified."""
    return torch.tensor(values).mul_(255)[:, None, None]


@functools.cache
def _limits(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Normalised black and white, each float32 `[3, 1]`; shared, must not be modified."""
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
        raise UsageError(
            f"{name} is {value!r}; choose one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
        )
