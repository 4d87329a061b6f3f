"""Training augmentation: random crop, mild colour jitter, and horizontal flip where captions allow it.

Source: random resized crop as in Szegedy et al. 2015, "Going deeper with convolutions"; brightness, contrast
and saturation as in torchvision's ColorJitter. Hue is not changed: captions name colours.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.image.decode import Photo
from captioner.image.transforms import ImageTransform

SIDES = ("left", "right")
"""English words for the sides."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def may_flip(captions: Iterable[str], sides: Sequence[str] = SIDES) -> bool:
    """Whether all `captions` stay true of the flipped photo: none mentions a side.

    Args:
        captions: The captions of one photo.
        sides: Prefixes of words for sides: "left" matches leftmost but not cleft. In scripts without upper case, many
            of which do not separate words, they match anywhere.
    """
    pattern = _pattern(tuple(sides))
    return pattern is None or not any(pattern.search(caption) for caption in captions)


@functools.cache
def _pattern(sides: tuple[str, ...]) -> re.Pattern[str] | None:
    cased = [word for word in sides if word[:1].lower() != word[:1].upper()]
    others = [word for word in sides if word not in cased]
    choices = [*(rf"\b{re.escape(word)}" for word in cased), *map(re.escape, others)]
    return re.compile("|".join(choices), re.IGNORECASE) if choices else None


@dataclass(frozen=True, slots=True)
class Variation:
    """The sampled parameters of one augmentation.

    Attributes:
        shares: Height and width of the crop, relative to the transform's; limited by the photo where above 1.
        offset: Position of the crop within the remaining rows and columns, 0–1.
        flipped: Whether it is flipped, if captions allow it.
        colour: Three values 0–1, for brightness, contrast and saturation.
    """

    shares: tuple[float, float]
    offset: tuple[float, float]
    flipped: bool
    colour: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrainingAugment:
    """Augments a photo and converts it to the model's input. The transform's fit, size and normalisation are kept.

    Attributes:
        transform: The transform without augmentation, as used for validation and prediction.
        scale: Lowest and highest area of the crop, relative to the transform's, in (0, 1].
        ratio: Lowest and highest aspect ratio (width over height) of the crop, relative to the transform's.
        jitter: Brightness, contrast and saturation are each multiplied by a factor from 1 − jitter to 1 +
            jitter.
        flip: Probability (0–1) of flipping a photo whose captions allow it.
        sides: Prefixes of words that forbid flipping, as in `may_flip`, in the captions' language.

    Raises:
        UsageError: A value is out of range.
    """

    transform: ImageTransform
    _: KW_ONLY
    scale: tuple[float, float] = (0.6, 1.0)
    ratio: tuple[float, float] = (0.8, 1.25)
    jitter: float = 0.2
    flip: float = 0.5
    sides: Sequence[str] = SIDES

    def __post_init__(self) -> None:
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise UsageError(f"scale is {self.scale}; it must be two numbers, 0 < low <= high <= 1")
        if not (len(self.ratio) == 2 and 0 < self.ratio[0] <= self.ratio[1]):
            raise UsageError(f"ratio is {self.ratio}; it must be two numbers, 0 < low <= high")
        for name, value in (("jitter", self.jitter), ("flip", self.flip)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}; it must be from 0 to 1")

        if isinstance(self.sides, str) or not all(isinstance(word, str) and word for word in self.sides):
            raise UsageError(
                f"sides is {self.sides}; it must be a list of words, such as [left, right], or []"
            )

    def draw(self, generator: torch.Generator) -> Variation:
        """Sample the parameters of one augmentation; always draws the same number of values."""
        area, stretch, down, across, flip, *colour = torch.rand(8, generator=generator).tolist()
        side = math.sqrt(_between(self.scale, area))
        # On a log scale, so that a ratio and its inverse are equally likely.
        aspect = math.exp(_between((math.log(self.ratio[0]), math.log(self.ratio[1])), stretch) / 2)
        return Variation((side / aspect, side * aspect), (down, across), flip < self.flip, tuple(colour))

    def min_photo_size(self, variation: Variation) -> tuple[int, int]:
        """The least (rows, cols) of a photo whose crop has at least the pixels of the input."""
        enlarged = 1 / min(1.0, *variation.shares)
        rows, cols = self.transform.largest_size
        return math.ceil(enlarged * rows), math.ceil(enlarged * cols)

    def vary(self, photo: Photo, variation: Variation, *, may_flip: bool) -> Tensor:
        """The model input of an augmentation.

        Args:
            photo: The decoded photo.
            variation: From `draw`.
            may_flip: Whether the photo's captions stay true when it is flipped, as given by `may_flip`.

        Returns:
            float32 `[3, rows, cols]`, normalised.
        """
        height, width = photo.pixels.shape[:2]
        size = self.transform.input_size(*photo.size)
        rows, cols = self.transform.visible_size(height, width)
        rows = min(height, max(1, round(rows * variation.shares[0])))
        cols = min(width, max(1, round(cols * variation.shares[1])))
        down, across = variation.offset
        top, left = int(down * (height - rows + 1)), int(across * (width - cols + 1))
        crop = photo.pixels[top : top + rows, left : left + cols]
        image = self.transform.resize(crop, self.transform.inner_size(rows, cols, size))
        if may_flip and variation.flipped:
            image = image.flip(-1)
        planes = image.float().contiguous()
        if not self.jitter:
            return self.transform.finish(planes, size)
        brightness, contrast, saturation = (1 + self.jitter * (2 * value - 1) for value in variation.colour)
        return self.transform.finish_mixed(planes, size, *_jitter(planes, brightness, contrast, saturation))


def _jitter(
    image: Tensor, brightness: float, contrast: float, saturation: float
) -> tuple[list[list[float]], float]:
    """The colour change of a float32 `[3, rows, cols]` image of values 0–255: a 3 × 3 matrix and an offset."""
    # Saturation scales each pixel's distance from its own grey, contrast its distance from the image's mean grey.
    gain = brightness * contrast
    matrix = [
        [
            gain * ((1 - saturation) * luma + (saturation if row == col else 0))
            for col, luma in enumerate(_LUMA)
        ]
        for row in range(3)
    ]
    red, green, blue = image.view(3, -1).mean(dim=1).tolist()
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return matrix, brightness * (1 - contrast) * grey


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share
