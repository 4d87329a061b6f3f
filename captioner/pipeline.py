"""How is a photo captioned, and a caption explained, in a few lines? `load(path).caption(images) -> list[Caption]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captioner import bundle as bundles
from captioner.caption import Caption
from captioner.captioning.describe import describe, describe_given
from captioner.decoding import EnsembleSearch, Search, make_search
from captioner.errors import ImageError, UsageError
from captioner.explain.methods import Method, make_methods
from captioner.image.decode import Photo, read_photo
from captioner.image.photo_reader import PhotoReader, Ready, Source, Unreadable
from captioner.image.transforms import same_size
from captioner.models.acceleration import check_precision
from captioner.prefetch import in_batches, read_ahead

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
        precision: "fp32", or "bf16" to encode and search in bfloat16; captions are explained in float32.

    Attributes:
        card: The model's training card.
        transforms: What a photo goes through for each model, the ensemble's after the model's own.

    Raises:
        UsageError: If the models' tokenizers differ, or the hardware has no bfloat16.
    """

    def __init__(
        self,
        model: bundles.Bundle,
        *,
        device: str | torch.device = "cpu",
        ensemble: Sequence[bundles.Bundle] = (),
        average: str = "logprobs",
        precision: str = "fp32",
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
        check_precision(precision, self.device)
        self.bf16 = precision == "bf16"
        self.card: dict[str, Any] = model.card
        self.transforms = tuple(one.transform for one in (model, *ensemble))

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
        photo = image if isinstance(image, Photo) else read_photo(image)
        pixels, geometry = self.model.transform(photo)
        (caption,) = describe_given(
            self.model.captioner,
            self.images_of([pixels]),
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
        readers: int = 0,
    ) -> Iterator[Captioned]:
        """Caption photos one batch after the other, in the order given; a bad photo is an entry, not an end.

        Args:
            images: Taken as they are needed.
            search: How captions are chosen.
            batch_size: Photos encoded and decoded at once.
            explain: As in `caption`.
            readers: Threads that read the next two batches meanwhile; 0 reads in this one.

        Raises:
            UsageError: If `batch_size` is below 1, or a method of `explain` cannot be had.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
        methods = make_methods(explain, self.model.captioner, card=self.card)
        return self._stream(in_batches(enumerate(images), batch_size), search, methods, readers)

    def _stream(
        self,
        batches: Iterable[Sequence[tuple[int, Source]]],
        search: Search,
        methods: Sequence[Method],
        readers: int,
    ) -> Iterator[Captioned]:
        with closing(read_ahead(batches, PhotoReader(self.transforms), readers=readers)) as all_ready:
            for ready in all_ready:
                photos = [one for one in ready if isinstance(one, Ready)]
                captions = iter(self._by_size(photos, search, methods))
                for one in ready:
                    if isinstance(one, Unreadable):
                        yield Captioned(one.index, None, None, one.error)
                    else:
                        yield Captioned(one.index, one.photo, next(captions), None)

    def images_of(self, pixels: Sequence[Tensor]) -> Tensor:
        """A batch `[B, 3, rows, cols]` on the device from the pixels `[3, rows, cols]` of each photo."""
        return torch.stack(list(pixels)).to(self.device, memory_format=torch.channels_last)

    def computing(self) -> AbstractContextManager[None]:
        """Where images are encoded and captions searched: the number format that was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def joined(self, search: Search, memories: Sequence[Tensor]) -> Search:
        """The search over all models.

        Args:
            search: For the model alone.
            memories: `[B, N, D]` of each model of the ensemble; each saw the photos through its own transform.
        """
        if not self.ensemble:
            return search
        decoders = [model.captioner.decoder for model in self.ensemble]
        return EnsembleSearch(search, list(zip(decoders, memories, strict=True)), average=self.average)

    def _by_size(self, photos: Sequence[Ready], search: Search, methods: Sequence[Method]) -> list[Caption]:
        """Photos in their own shapes come in several batches."""
        found: dict[int, Caption] = {}
        for places in same_size([photo.inputs for photo in photos]):
            captions = self._described([photos[place] for place in places], search, methods)
            found |= zip(places, captions, strict=True)
        return [found[place] for place in range(len(photos))]

    def _described(self, photos: Sequence[Ready], search: Search, methods: Sequence[Method]) -> list[Caption]:
        with torch.no_grad(), self.computing():
            memories = [
                model.captioner.encode(self.images_of([photo.inputs[k] for photo in photos])).features
                for k, model in enumerate(self.ensemble, start=1)
            ]
        return describe(
            self.model.captioner,
            self.images_of([photo.inputs[0] for photo in photos]),
            [photo.geometry for photo in photos],
            tokenizer=self.model.tokenizer,
            search=search.for_images([photo.index for photo in photos]),
            methods=methods,
            others=[(one.captioner.decoder, own) for one, own in zip(self.ensemble, memories, strict=True)],
            average=self.average,
            bf16=self.bf16,
        )


def load(
    path: str | Path,
    *,
    device: str = "auto",
    ensemble: Sequence[str | Path] = (),
    average: str = "logprobs",
    precision: str = "fp32",
    compile: bool = False,
) -> CaptionPipeline:
    """Load a model file.

    Args:
        path: A `model.safetensors` that `captioner.train` wrote.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
        ensemble: Further model files of the same vocabulary, which decide on each word with it.
        average: How they are averaged: "logprobs" or "probs".
        precision: "fp32", or "bf16" to encode and search in bfloat16; captions are explained in float32.
        compile: Compile a Transformer's step at the first batch, which takes a minute: for thousands of captions.

    Raises:
        ModelFileError: If a file cannot be used.
        UsageError: If the device is not there, it has no bfloat16, the step cannot be compiled, or the models'
            vocabularies differ.
    """
    chosen = choose_device(device)
    model, *others = (bundles.load(one, device=chosen) for one in (path, *ensemble))
    if not isinstance(compile, bool):
        raise UsageError(f"compile={compile!r} must be true or false")
    if compile:
        for one in (model, *others):
            one.captioner.decoder.compile_step()
    return CaptionPipeline(model, device=chosen, ensemble=others, average=average, precision=precision)


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
