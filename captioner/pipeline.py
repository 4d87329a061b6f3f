"""How is a photo captioned in a few lines? `load(path).caption(images) -> list[Caption]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from captioner import bundle as bundles
from captioner.caption import Caption
from captioner.decoding import Search, make_search
from captioner.errors import ImageError, UsageError
from captioner.explain.describe import describe
from captioner.image.decode import Photo, read_photo

Source = str | Path | bytes | Image.Image | NDArray[np.uint8] | Photo
"""A photo: a path, encoded bytes, a Pillow image, uint8 pixels `[H, W, 3]`, or an already decoded `Photo`."""


@dataclass(frozen=True, slots=True, eq=False)
class Captioned:
    """What became of one photo: its caption, or why it could not be read.

    Attributes:
        index: Position among the photos given.
        photo: The decoded photo, or None.
        caption: The caption, or None.
        error: Why there is none, or None.
    """

    index: int
    photo: Photo | None
    caption: Caption | None
    error: ImageError | None


class CaptionPipeline:
    """A trained model, ready to caption photos.

    Args:
        model: What `bundle.load` gives.
        device: Where it computes.

    Attributes:
        card: The model's training card.
    """

    def __init__(self, model: bundles.Bundle, *, device: str | torch.device = "cpu") -> None:
        self.model = model
        self.device = torch.device(device)
        self.card: dict[str, Any] = model.card

    def caption(
        self,
        images: Source | Sequence[Source],
        *,
        beam_size: int = 3,
        max_length: int = 30,
        length_penalty: float = 0.7,
        batch_size: int = 16,
    ) -> list[Caption]:
        """Caption photos.

        Args:
            images: One photo or several; see `Source`.
            beam_size: 1 is greedy decoding.
            max_length: Longest caption in tokens, EOS included.
            length_penalty: score = log P / length ** length_penalty.
            batch_size: Photos encoded and decoded at once; the captions do not depend on it.

        Returns:
            One `Caption` for each photo, in order.

        Raises:
            ImageError: If a photo cannot be read; `stream` goes on instead.
        """
        if isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Photo):
            images = [images]
        search = make_search(beam_size, max_length=max_length, length_penalty=length_penalty)
        captions = []
        for result in self.stream(images, search=search, batch_size=batch_size):
            if result.error is not None:
                raise result.error
            assert result.caption is not None
            captions.append(result.caption)
        return captions

    def stream(
        self, images: Iterable[Source], *, search: Search, batch_size: int = 16
    ) -> Iterator[Captioned]:
        """Caption photos one batch after the other, in the order given; a bad photo is an entry, not an end.

        Raises:
            UsageError: If `batch_size` is below 1.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
        return self._stream(images, search, batch_size)

    def _stream(self, images: Iterable[Source], search: Search, batch_size: int) -> Iterator[Captioned]:
        waiting: list[tuple[int, Photo | ImageError]] = []
        for index, source in enumerate(images):
            try:
                waiting.append((index, source if isinstance(source, Photo) else self._read(source)))
            except ImageError as error:
                waiting.append((index, error))
            if len(waiting) == batch_size:
                yield from self._batch(waiting, search)
                waiting = []
        yield from self._batch(waiting, search)

    def _read(self, source: str | Path | bytes | Image.Image | NDArray[np.uint8]) -> Photo:
        return read_photo(source)

    def _batch(
        self, waiting: Sequence[tuple[int, Photo | ImageError]], search: Search
    ) -> Iterator[Captioned]:
        photos = [photo for _, photo in waiting if isinstance(photo, Photo)]
        captions: Iterator[Caption] = iter(())
        if photos:
            inputs = [self.model.transform(photo) for photo in photos]
            images = torch.stack([pixels for pixels, _ in inputs])
            found = describe(
                self.model.captioner,
                images.to(self.device, memory_format=torch.channels_last),
                [geometry for _, geometry in inputs],
                tokenizer=self.model.tokenizer,
                search=search,
            )
            captions = iter(found)
        for index, photo in waiting:
            if isinstance(photo, Photo):
                yield Captioned(index, photo, next(captions), None)
            else:
                yield Captioned(index, None, None, photo)


def load(path: str | Path, *, device: str = "auto") -> CaptionPipeline:
    """Load a model file.

    Args:
        path: A `model.safetensors` that `captioner.train` wrote.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ModelFileError: If the file cannot be used.
        UsageError: If the device is not there.
    """
    chosen = choose_device(device)
    return CaptionPipeline(bundles.load(path, device=chosen), device=chosen)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU where there is one.

    Raises:
        UsageError: If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # it must also compute: "meta" does not
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"device={name} is not available here; take auto or cpu") from error
    return device
