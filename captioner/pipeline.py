"""How is a photo captioned, and a caption explained, in a few lines? `load(path).caption(images) -> list[Caption]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioner import bundle as bundles
from captioner.caption import Caption
from captioner.decoding import EnsembleSearch, Search, make_search
from captioner.errors import ImageError, UsageError
from captioner.explain.describe import describe, describe_given
from captioner.explain.methods import Method, make_methods
from captioner.image.decode import Photo, read_photo

Source = str | Path | bytes | Image.Image | NDArray[np.uint8] | Photo
"""A photo: a path, encoded bytes, a Pillow image, uint8 pixels `[H, W, 3]`, or an already decoded `Photo`."""

Explain = str | Method | Sequence[str | Method]
"""How captions are explained: names as in `captioner.explain.methods`, one or several, or methods."""


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
        ensemble: Further models that decide on each word with it. Explanations are those of `model`.
        average: How they are averaged: `logprobs` or `probs`.

    Attributes:
        card: The model's training card.

    Raises:
        UsageError: If the models' tokenizers differ.
    """

    def __init__(
        self,
        model: bundles.Bundle,
        *,
        device: str | torch.device = "cpu",
        ensemble: Sequence[bundles.Bundle] = (),
        average: str = "logprobs",
    ) -> None:
        for number, other in enumerate(ensemble, start=2):
            if other.tokenizer.to_json() != model.tokenizer.to_json():
                raise UsageError(
                    f"model {number} of the ensemble has another vocabulary ({other.tokenizer.vocab_size} tokens) than "
                    f"the first ({model.tokenizer.vocab_size}); join models that were trained with one tokenizer"
                )
        self.model = model
        self.ensemble = tuple(ensemble)
        self.average = average
        self.device = torch.device(device)
        self.card: dict[str, Any] = model.card

    def caption(
        self,
        images: Source | Sequence[Source],
        *,
        beam_size: int = 3,
        max_length: int = 30,
        length_penalty: float = 0.7,
        search: Search | None = None,
        batch_size: int = 16,
        explain: Explain = "attention",
    ) -> list[Caption]:
        """Caption photos.

        Args:
            images: One photo or several; see `Source`.
            beam_size: 1 is greedy decoding.
            max_length: Longest caption in tokens, EOS included.
            length_penalty: score = log P / length ** length_penalty.
            search: Any other way to choose captions, in place of the three above; see `captioner.decoding`.
            batch_size: Photos encoded and decoded at once; the captions do not depend on it.
            explain: Methods that say where each word comes from, such as "attention,occlusion" or
                ["attention", "occlusion"]; see `captioner.explain.methods`. The first gives `Word.map`.

        Returns:
            One `Caption` for each photo, in order.

        Raises:
            ImageError: If a photo cannot be read; `stream` goes on instead.
            UsageError: If there is no such method, or the model does not support it.
        """
        if isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Photo):
            images = [images]
        search = search or make_search(beam_size, max_length=max_length, length_penalty=length_penalty)
        captions = []
        for result in self.stream(images, search=search, batch_size=batch_size, explain=explain):
            if result.error is not None:
                raise result.error
            assert result.caption is not None
            captions.append(result.caption)
        return captions

    def explain(self, image: Source, text: str, *, explain: Explain = "attention") -> Caption:
        """Explain a caption of your own: what the model makes of each of its words on this photo.

        Args:
            image: One photo; see `Source`.
            text: The caption, in words that the model knows.
            explain: As in `caption`.

        Returns:
            The caption with the model's log-probabilities and maps. Its score is its log-probability.

        Raises:
            ImageError: If the photo cannot be read.
            UsageError: If the caption has no words, too many, or words that the model does not know, or a method
                cannot be had.
        """
        methods = make_methods(explain, self.model.captioner, card=self.card)
        photo = image if isinstance(image, Photo) else self._read(image)
        pixels, geometry = self.model.transform(photo)
        (caption,) = describe_given(
            self.model.captioner,
            self._images([pixels]),
            [geometry],
            [text],
            tokenizer=self.model.tokenizer,
            methods=methods,
        )
        return caption

    def stream(
        self,
        images: Iterable[Source],
        *,
        search: Search,
        batch_size: int = 16,
        explain: Explain = "attention",
    ) -> Iterator[Captioned]:
        """Caption photos one batch after the other, in the order given; a bad photo is an entry, not an end.

        Raises:
            UsageError: If `batch_size` is below 1, or a method of `explain` cannot be had.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
        methods = make_methods(explain, self.model.captioner, card=self.card)
        return self._stream(images, search, batch_size, methods)

    def _stream(
        self, images: Iterable[Source], search: Search, batch_size: int, methods: Sequence[Method]
    ) -> Iterator[Captioned]:
        waiting: list[tuple[int, Photo | ImageError]] = []
        for index, source in enumerate(images):
            try:
                waiting.append((index, source if isinstance(source, Photo) else self._read(source)))
            except ImageError as error:
                waiting.append((index, error))
            if len(waiting) == batch_size:
                yield from self._batch(waiting, search, methods)
                waiting = []
        yield from self._batch(waiting, search, methods)

    def _read(self, source: str | Path | bytes | Image.Image | NDArray[np.uint8]) -> Photo:
        return read_photo(source)

    def _images(self, pixels: list[Tensor]) -> Tensor:
        return torch.stack(pixels).to(self.device, memory_format=torch.channels_last)

    @torch.no_grad()
    def _joined(self, search: Search, photos: Sequence[Photo]) -> Search:
        """The search over all models; each sees the photos through its own transform."""
        if not self.ensemble:
            return search
        others = []
        for model in self.ensemble:
            pixels = [model.transform(photo)[0] for photo in photos]
            others.append((model.captioner.decoder, model.captioner.encode(self._images(pixels)).features))
        return EnsembleSearch(search, others, average=self.average)

    def _batch(
        self,
        waiting: Sequence[tuple[int, Photo | ImageError]],
        search: Search,
        methods: Sequence[Method],
    ) -> Iterator[Captioned]:
        photos = [photo for _, photo in waiting if isinstance(photo, Photo)]
        captions: Iterator[Caption] = iter(())
        if photos:
            inputs = [self.model.transform(photo) for photo in photos]
            numbers = [index for index, photo in waiting if isinstance(photo, Photo)]
            found = describe(
                self.model.captioner,
                self._images([pixels for pixels, _ in inputs]),
                [geometry for _, geometry in inputs],
                tokenizer=self.model.tokenizer,
                search=self._joined(search.for_images(numbers), photos),
                methods=methods,
            )
            captions = iter(found)
        for index, photo in waiting:
            if isinstance(photo, Photo):
                yield Captioned(index, photo, next(captions), None)
            else:
                yield Captioned(index, None, None, photo)


def load(
    path: str | Path,
    *,
    device: str = "auto",
    ensemble: Sequence[str | Path] = (),
    average: str = "logprobs",
) -> CaptionPipeline:
    """Load a model file.

    Args:
        path: A `model.safetensors` that `captioner.train` wrote.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
        ensemble: Further model files of the same vocabulary, which decide on each word with it.
        average: How they are averaged: "logprobs" or "probs".

    Raises:
        ModelFileError: If a file cannot be used.
        UsageError: If the device is not there, or the models' vocabularies differ.
    """
    chosen = choose_device(device)
    model, *others = (bundles.load(one, device=chosen) for one in (path, *ensemble))
    return CaptionPipeline(model, device=chosen, ensemble=others, average=average)


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
