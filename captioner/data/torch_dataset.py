"""Torch dataset of model inputs: an image's pixels or stored features, with captions as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captioner.data.batch import EncodedSample
from captioner.data.integrity.faults import OnBad
from captioner.data.samples import CaptionDataset
from captioner.errors import ImageError
from captioner.image.augment import TrainingAugment, may_flip
from captioner.image.cover import cover
from captioner.image.decode import photo_size
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One sample of one epoch, as a loader requests it from a worker.

    Attributes:
        epoch: From 0.
        index: Index in the dataset.
        counts: False for padding that only gives every process the same number of samples.
    """

    epoch: int
    index: int
    counts: bool = True


class ImageInputs(Protocol):
    """The input of the encoder, or of the bridge after it, for a request."""

    def __call__(self, request: SampleRequest, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` or features float32 `[N, D]`. Raises `ImageError` naming the file."""
        ...

    def blank(self, request: SampleRequest | None = None) -> Tensor:
        """The replacement of a photo that cannot be read."""
        ...


class PhotoInputs:
    """Pixels of a dataset's photos, augmented anew in each epoch if there is an augmentation.

    Large JPEGs are decoded at a reduced scale: to at least twice the pixels of the input per side, and with
    augmentation to at least as many pixels of the crop as the input has.

    Args:
        dataset: The photos.
        transform: Converts a photo to pixels.
        augment: Replaces `transform` if given.
    """

    def __init__(
        self, dataset: CaptionDataset, transform: ImageTransform, augment: TrainingAugment | None
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.augment = augment
        # Large enough that the reduction has no visible effect: every epoch gets the same pixels.
        rows, cols = transform.largest_size
        self.min_size = (2 * rows, 2 * cols)

    def __call__(self, request: SampleRequest, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` of one request."""
        if self.augment is None:
            return self.transform(self.dataset.photo(request.index, min_size=self.min_size))[0]
        variation = self.augment.draw(generator)
        photo = self.dataset.photo(request.index, min_size=self.augment.min_photo_size(variation))
        flip = may_flip(self.dataset[request.index].captions, self.augment.sides)
        return self.augment.vary(photo, variation, may_flip=flip)

    def blank(self, request: SampleRequest | None = None) -> Tensor:
        """The mean colour, float32 `[3, rows, cols]`, of the size of the request's batch."""
        (size,) = (
            [self.transform.size]
            if request is None
            else input_sizes(self.dataset, self.transform, [request.index])
        )
        return torch.zeros(3, *size)


class CoveredInputs:
    """Other inputs, with patches covered at random.

    Args:
        inputs: Pixels, not features.
        probability: 0–1, of covering any patch of a request.
    """

    def __init__(self, inputs: ImageInputs, probability: float) -> None:
        self.inputs = inputs
        self.probability = probability

    def __call__(self, request: SampleRequest, generator: torch.Generator) -> Tensor:
        """Pixels float32 `[3, rows, cols]` of one request."""
        return cover(self.inputs(request, generator), self.probability, generator)

    def blank(self, request: SampleRequest | None = None) -> Tensor:
        """As in the other inputs."""
        return self.inputs.blank(request)


class EncodedDataset(Dataset[EncodedSample]):
    """A dataset's images as model inputs and its captions as token ids, indexed by `SampleRequest`.

    Args:
        dataset: The captions.
        inputs: The model inputs of the images.
        tokenizer: Encodes the captions.
        captions_per_image: The number of captions to sample; None for all.
        max_tokens: Longer captions are truncated to this many tokens, including BOS and EOS.
        seed: Seed of all random choices.
        on_bad: "stop" at a photo that cannot be read, or "skip" it: a blank image without captions, which contributes
            no loss, takes its place, so that order and number of batches do not change.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        inputs: ImageInputs,
        tokenizer: Tokenizer,
        *,
        captions_per_image: int | None,
        max_tokens: int,
        seed: int,
        on_bad: OnBad = "stop",
    ) -> None:
        self.dataset = dataset
        self.inputs = inputs
        self.tokenizer = tokenizer
        self.captions_per_image = captions_per_image
        self.max_words = max_tokens - 2  # without BOS and EOS
        self.seed = seed
        self.on_bad = on_bad

    def __getitem__(self, request: SampleRequest) -> EncodedSample:
        captions = self.dataset[request.index].captions
        generator = sample_generator(request, seed=self.seed)
        if self.captions_per_image is not None and len(captions) > self.captions_per_image:
            chosen = torch.randperm(len(captions), generator=generator)[: self.captions_per_image]
            captions = tuple(captions[int(i)] for i in chosen)
        try:
            image = self.inputs(request, generator)
        except ImageError as error:
            if self.on_bad == "stop":
                raise
            return EncodedSample(self.inputs.blank(request), (), request.index, str(error))
        if not request.counts:
            captions = ()
        ids = self.tokenizer.encode_batch(captions)
        return EncodedSample(image, tuple(tuple(caption[: self.max_words]) for caption in ids), request.index)


def input_sizes(
    dataset: CaptionDataset, transform: ImageTransform, indices: Sequence[int]
) -> list[tuple[int, int]]:
    """The (rows, cols) of the inputs of some photos; files are opened but not decoded, and only for `fit="native"`.

    A photo that cannot be opened counts as one of the transform's own size: it is refused or replaced when it is read.
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


def sample_generator(request: SampleRequest, *, seed: int) -> torch.Generator:
    """The random generator of one request, from seed, epoch and index alone: independent of workers and resumption."""
    seeds = np.random.SeedSequence((seed, request.epoch, request.index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seeds[0]))


def training_inputs(
    dataset: CaptionDataset, *, transform: ImageTransform, augment: TrainingAugment | None, cover: float
) -> ImageInputs:
    """The encoder's inputs in training."""
    photos = PhotoInputs(dataset, transform, augment)
    return CoveredInputs(photos, cover) if cover else photos
