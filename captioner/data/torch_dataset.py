"""What does one draw of one epoch give? An image's pixels or stored features, with captions as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captioner.data.batch import EncodedSample
from captioner.data.integrity.faults import OnBad as OnBad  # loaders ask for it here
from captioner.data.samples import CaptionDataset
from captioner.errors import ImageError
from captioner.image.augment import TrainingAugment, may_flip
from captioner.image.cover import cover
from captioner.image.decode import photo_size
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample of one epoch: what a worker is asked for.

    Attributes:
        epoch: From 0.
        index: Place in the dataset.
        counts: False where the sample is read only because every process needs as many as the others.
    """

    epoch: int
    index: int
    counts: bool = True


class Pictures(Protocol):
    """What the encoder, or the bridge after it, is given for a draw."""

    def __call__(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` or features float32 `[N, D]`. Raises `ImageError` naming the file."""
        ...

    def blank(self, draw: Draw | None = None) -> Tensor:
        """What stands for a photo that cannot be read."""
        ...


class Photos:
    """Pixels of a dataset's photos, varied anew in each epoch if there is an augmentation.

    Large JPEGs are decoded at a reduced scale: to at least twice the pixels of the input a side, and where photos are
    varied to at least as many as the input has of the crop that was drawn.

    Args:
        dataset: Gives the photos.
        transform: Makes pixels of a photo.
        augment: Does so instead where it is given.
    """

    def __init__(
        self, dataset: CaptionDataset, transform: ImageTransform, augment: TrainingAugment | None
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.augment = augment
        # So much more than the input that reducing does not show: every epoch sees the same pixels.
        rows, cols = transform.largest_size
        self.min_size = (2 * rows, 2 * cols)

    def __call__(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` of one draw."""
        if self.augment is None:
            return self.transform(self.dataset.photo(draw.index, min_size=self.min_size))[0]
        variation = self.augment.draw(generator)
        photo = self.dataset.photo(draw.index, min_size=self.augment.least_size(variation))
        flip = may_flip(self.dataset[draw.index].captions, self.augment.sides)
        return self.augment.vary(photo, variation, may_flip=flip)

    def blank(self, draw: Draw | None = None) -> Tensor:
        """The mean colour, float32 `[3, rows, cols]`, of the size that goes with a draw's batch."""
        (size,) = (
            [self.transform.size] if draw is None else input_sizes(self.dataset, self.transform, [draw.index])
        )
        return torch.zeros(3, *size)


class Covered:
    """Other pictures, with patches covered at times.

    Args:
        pictures: Pixels, not features.
        chance: 0–1, of covering anything of one draw.
    """

    def __init__(self, pictures: Pictures, chance: float) -> None:
        self.pictures = pictures
        self.chance = chance

    def __call__(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` of one draw."""
        return cover(self.pictures(draw, generator), self.chance, generator)

    def blank(self, draw: Draw | None = None) -> Tensor:
        """As of the other pictures."""
        return self.pictures.blank(draw)


class Encoded(Dataset[EncodedSample]):
    """A dataset behind pictures and tokenizer, asked by `Draw`.

    Args:
        dataset: Gives the captions.
        pictures: Gives what stands for the image.
        tokenizer: Makes ids of the captions.
        captions_per_image: How many captions are drawn; None for all.
        max_tokens: Longer captions are cut to this many tokens, BOS and EOS counted.
        seed: Decides what is drawn.
        on_bad: "stop" at a photo that cannot be read, or "skip" it: a blank image without captions, which teaches
            nothing, stands in its place, so that order and number of batches stay.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        pictures: Pictures,
        tokenizer: Tokenizer,
        *,
        captions_per_image: int | None,
        max_tokens: int,
        seed: int,
        on_bad: OnBad = "stop",
    ) -> None:
        self.dataset = dataset
        self.pictures = pictures
        self.tokenizer = tokenizer
        self.captions_per_image = captions_per_image
        self.max_words = max_tokens - 2  # beside BOS and EOS
        self.seed = seed
        self.on_bad = on_bad

    def __getitem__(self, draw: Draw) -> EncodedSample:
        captions = self.dataset[draw.index].captions
        generator = generator_of(draw, seed=self.seed)
        if self.captions_per_image is not None and len(captions) > self.captions_per_image:
            chosen = torch.randperm(len(captions), generator=generator)[: self.captions_per_image]
            captions = tuple(captions[int(i)] for i in chosen)
        try:
            image = self.pictures(draw, generator)
        except ImageError as error:
            if self.on_bad == "stop":
                raise
            return EncodedSample(self.pictures.blank(draw), (), draw.index, str(error))
        if not draw.counts:
            captions = ()
        ids = self.tokenizer.encode_batch(captions)
        return EncodedSample(image, tuple(tuple(caption[: self.max_words]) for caption in ids), draw.index)


def input_sizes(
    dataset: CaptionDataset, transform: ImageTransform, indices: Sequence[int]
) -> list[tuple[int, int]]:
    """The (rows, cols) of the inputs of some photos; files are opened, not decoded, and that only where it matters.

    What cannot be opened counts as a photo of the transform's own size: it is refused or replaced when its turn comes.
    """
    if transform.fit != "native":
        return [transform.size] * len(indices)
    sizes = []
    for index in indices:
        path = dataset[index].path
        try:
            size = dataset.photo(index).size if path is None else photo_size(path)
            sizes.append(transform.input_size(*size))
        except ImageError:
            sizes.append(transform.size)
    return sizes


def generator_of(draw: Draw, *, seed: int) -> torch.Generator:
    """Randomness of one draw: of seed, epoch and sample alone, so workers and resumed runs draw the same."""
    seeds = np.random.SeedSequence((seed, draw.epoch, draw.index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seeds[0]))


def drawn_pictures(
    dataset: CaptionDataset, *, transform: ImageTransform, augment: TrainingAugment | None, cover: float
) -> Pictures:
    """What training gives the encoder."""
    photos = Photos(dataset, transform, augment)
    return Covered(photos, cover) if cover else photos
