"""Captioning pipeline: photos in, captions with words and maps out. `load(path).caption(images) -> list[Caption]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from captioner import bundle as bundles
from captioner.build import as_list
from captioner.caption import Caption
from captioner.captioning.engine import CaptioningEngine
from captioner.captioning.records import CaptionRecord, CaptionResult
from captioner.captioning.stream import Batches, caption_stream, record_stream
from captioner.decoding import Search, make_search, search_from_settings
from captioner.errors import UsageError
from captioner.explain.methods import Method, make_methods
from captioner.image.decode import Photo, read_photo
from captioner.image.photo_reader import PhotoReader, Source
from captioner.models.acceleration import check_precision
from captioner.models.devices import choose_device
from captioner.prefetch import BusyClock, in_batches

Explain = str | Method | Sequence[str | Method]
"""How captions are explained: names as in `captioner.explain.methods`, one or several, or methods."""


class CaptionPipeline:
    """A trained model, or an ensemble, ready to caption photos.

    Args:
        model: What `bundle.load` gives.
        device: Where it computes.
        ensemble: Further models that choose each word together with it. Explanations are those of `model`.
        average: How they are averaged: `logprobs` or `probs`.
        precision: "fp32", or "bf16" to encode and search in bfloat16; captions are explained in float32.

    Attributes:
        card: The model's training card.
        engine: What encodes, searches and explains.
        transforms: The transform of each model, the ensemble's after the model's own.

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
        self.device = torch.device(device)
        check_precision(precision, self.device)
        self.card: dict[str, Any] = model.card
        self.transforms = tuple(one.transform for one in (model, *ensemble))
        self.engine = CaptioningEngine(
            model.captioner,
            model.tokenizer,
            ensemble=[other.captioner for other in ensemble],
            average=average,
            device=self.device,
            bf16=precision == "bf16",
        )

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
            One caption for each photo, in order.

        Raises:
            ImageError: If a photo cannot be read.
            UsageError: If a number is out of range, or a method is unknown or does not support the model.
        """
        if isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Photo):
            images = [images]
        if search is None:
            search = make_search(beam_size, max_length=max_length, length_penalty=length_penalty)
        captions = []
        for result in self.stream(images, search=search, batch_size=batch_size, explain=explain):
            if result.error is not None:
                raise result.error
            assert result.caption is not None
            captions.append(result.caption)
        return captions

    def explain(self, image: Source, text: str, *, explain: Explain = "attention") -> Caption:
        """Explain a given caption: the model's log-probability and map of each of its words on this photo.

        Args:
            image: One photo; see `Source`.
            text: The caption, in words that the model knows.
            explain: As in `caption`.

        Returns:
            The caption with the log-probabilities and maps of `model`, without the ensemble. Its score is its
            log-probability.

        Raises:
            ImageError: If the photo cannot be read.
            UsageError: If the caption has no words, too many, or words that the model does not know, or a method is
                unknown or does not support the model.
        """
        methods = self.methods(explain)
        photo = image if isinstance(image, Photo) else read_photo(image)
        pixels, geometry = self.model.transform(photo)
        images = self.engine.stack([[pixels]])[0]
        (caption,) = self.engine.explain(images, [geometry], [text], methods=methods)
        return caption

    def methods(self, explain: Explain, *, warn: Callable[[str], None] | None = None) -> tuple[Method, ...]:
        """The explanation methods of these names, checked against the model.

        Args:
            explain: As in `caption`.
            warn: As in `captioner.explain.methods.make_methods`.

        Raises:
            UsageError: If a method is unknown or does not support the model.
        """
        return make_methods(explain, self.model.captioner, card=self.card, warn=warn)

    def stream(
        self,
        images: Iterable[Source],
        *,
        search: Search,
        batch_size: int = 16,
        explain: Explain = "attention",
        readers: int = 0,
        warn: Callable[[str], None] | None = None,
    ) -> Iterator[CaptionResult]:
        """Caption photos one batch after the other, in the order given; a photo that cannot be read is a result too.

        Args:
            images: Taken as they are needed.
            search: How captions are chosen.
            batch_size: Photos encoded and decoded at once.
            explain: As in `caption`.
            readers: Threads that read the next two batches meanwhile; 0 reads in this one.
            warn: As in `methods`.

        Raises:
            UsageError: If `batch_size` is below 1, or a method is unknown or does not support the model.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size={batch_size} must be a whole number of at least 1")
        return self.caption_batches(
            in_batches(enumerate(images), batch_size),
            search=search,
            methods=self.methods(explain, warn=warn),
            readers=readers,
        )

    def caption_batches(
        self, batches: Batches, *, search: Search, methods: Sequence[Method], readers: int = 0
    ) -> Iterator[CaptionResult]:
        """Caption batches of numbered photos, with methods that `methods` returned; else as `stream`."""
        reader = PhotoReader(self.transforms)
        return caption_stream(self.engine, reader, batches, search=search, methods=methods, readers=readers)

    def records(
        self, batches: Batches, *, search: Search, readers: int = 0, busy: BusyClock | None = None
    ) -> Iterator[list[CaptionRecord]]:
        """Caption batches of numbered photos without words and maps, as fast as they can be read.

        Large JPEGs are decoded at a reduced scale, at twice the model's input or more, as in training.

        Args:
            batches: Taken as they are needed.
            search: How captions are chosen.
            readers: Threads that read ahead.
            busy: Counts the time in which a model computes.

        Yields:
            The records of a batch, in order.
        """
        reader = PhotoReader(self.transforms, reduced=True)
        return record_stream(self.engine, reader, batches, search=search, readers=readers, busy=busy)


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
        ensemble: Further model files of the same vocabulary, which choose each word together with it.
        average: How they are averaged: "logprobs" or "probs".
        precision: "fp32", or "bf16" to encode and search in bfloat16; captions are explained in float32.
        compile: Compile a Transformer's step at the first batch, which takes a minute: for thousands of captions.

    Raises:
        ModelFileError: If a file cannot be used.
        UsageError: If the device is not available, it has no bfloat16, the step cannot be compiled, or the models'
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


def load_with_search(
    settings: Mapping[str, Any], *, process: int | None = None
) -> tuple[CaptionPipeline, Search]:
    """The pipeline and the search of the settings that predict.yaml and evaluate.yaml share.

    Args:
        settings: `model`, `device`, `ensemble`, `average`, `precision`, `compile`; `beam_size`, `max_length`,
            `length_penalty` and the groups `decoding` and `constraints`.
        process: As in `choose_device`.

    Raises:
        UsageError: As `load` and `search_from_settings`.
    """
    pipeline = load(
        settings["model"],
        device=str(choose_device(settings["device"], process=process)),
        ensemble=as_list(settings["ensemble"]),
        average=settings["average"],
        precision=settings["precision"],
        compile=settings["compile"],
    )
    return pipeline, search_from_settings(settings, tokenizer=pipeline.model.tokenizer)
