"""How is a photo varied in training? Random crop, mild colour jitter, and mirroring where captions allow it.

Source: random resized crop as in Szegedy et al. 2015, "Going deeper with convolutions"; brightness, contrast
and saturation as in torchvision's ColorJitter. Hue is left alone: captions name colours.
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
"""The English words of the sides."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def may_flip(captions: Iterable[str], sides: Sequence[str] = SIDES) -> bool:
    """Whether all `captions` stay true of the mirrored photo: none speaks of a side.

    Args:
        captions: Of one photo.
        sides: How words of sides begin: "left" is found in leftmost too, not in cleft. In scripts without capitals,
            many of which do not part words, they are found anywhere.
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
    """One draw of all that is varied.

    Attributes:
        shares: Height and width of the crop, as shares of what the transform would show; where above 1, as far as the
            photo goes.
        place: Where the crop lies in the room that is left, down and across, 0–1.
        mirrored: Whether it is mirrored, where captions allow it.
        colour: Three values 0–1, for brightness, contrast and saturation.
    """

    shares: tuple[float, float]
    place: tuple[float, float]
    mirrored: bool
    colour: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrainingAugment:
    """Varies a photo and makes the model's input from it. The transform's own fit, size and colours are kept.

    Attributes:
        transform: The transform without variation, as used for validation and prediction.
        scale: Lowest and highest area of the crop, as a share (0–1] of what `transform` would show.
        ratio: Lowest and highest stretch: width over height of the crop, relative to what `transform` would
        show.
        jitter: Brightness, contrast and saturation are each multiplied by a factor from 1 − jitter to 1 +
        jitter.
        flip: Chance (0–1) of mirroring a photo whose captions allow it.
        sides: Words, or how they begin, that forbid mirroring; as of `may_flip`. Name those of the captions' language.

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

    def __call__(self, photo: Photo, *, generator: torch.Generator, may_flip: bool) -> Tensor:
        """Make one varied model input.

        Args:
            photo: The decoded photo.
            generator: Source of all randomness; each call draws the same number of values from it.
            may_flip: Whether the photo's captions stay true when it is mirrored, as told by `may_flip`.

        Returns:
            float32 `[3, rows, cols]`, normalised.
        """
        return self.vary(photo, self.draw(generator), may_flip=may_flip)

    def draw(self, generator: torch.Generator) -> Variation:
        """How the next photo is varied, whatever it shows."""
        area, stretch, down, across, mirror, *colour = torch.rand(8, generator=generator).tolist()
        side = math.sqrt(_between(self.scale, area))
        # Drawn on a log scale, so that stretching and its opposite are equally likely.
        aspect = math.exp(_between((math.log(self.ratio[0]), math.log(self.ratio[1])), stretch) / 2)
        return Variation((side / aspect, side * aspect), (down, across), mirror < self.flip, tuple(colour))

    def least_size(self, variation: Variation) -> tuple[int, int]:
        """The (rows, cols) from which on a photo's crop has the pixels of the input: a larger one shows no more."""
        enlarged = 1 / min(1.0, *variation.shares)
        rows, cols = self.transform.largest_size
        return math.ceil(enlarged * rows), math.ceil(enlarged * cols)

    def vary(self, photo: Photo, variation: Variation, *, may_flip: bool) -> Tensor:
        """Make the model input float32 `[3, rows, cols]` of a variation that was drawn."""
        height, width = photo.pixels.shape[:2]
        size = self.transform.input_size(*photo.size)
        rows, cols = self.transform.seen_size(height, width)
        rows = min(height, max(1, round(rows * variation.shares[0])))
        cols = min(width, max(1, round(cols * variation.shares[1])))
        down, across = variation.place
        top, left = int(down * (height - rows + 1)), int(across * (width - cols + 1))
        crop = photo.pixels[top : top + rows, left : left + cols]
        image = self.transform.resize(crop, self.transform.inner_size(rows, cols, size))
        if may_flip and variation.mirrored:
            image = image.flip(-1)
        planes = image.float().contiguous()
        if not self.jitter:
            return self.transform.finish(planes, size)
        brightness, contrast, saturation = (1 + self.jitter * (2 * value - 1) for value in variation.colour)
        return self.transform.finish_mixed(planes, size, *_jitter(planes, brightness, contrast, saturation))


def _jitter(
    image: Tensor, brightness: float, contrast: float, saturation: float
) -> tuple[list[list[float]], float]:
    """What changes the colours of a float32 `[3, rows, cols]` image of values 0–255: a 3 × 3 matrix, then a sum."""
    # Saturation moves each pixel away from its own grey, contrast away from the mean grey of the image.
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
