"""What is said of many photos, as fast as they can be read? Reading, encoding and decoding beside each other.

Axis letters: `B` images, `K` captions per image, `L` tokens, `N` image tokens, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from captioner.caption import Alternative
from captioner.captioning.describe import other_captions
from captioner.decoding import Search
from captioner.decoding.hypotheses import special_tokens
from captioner.errors import ImageError
from captioner.image.photo_reader import NamedPhoto, PhotoReader, Ready, Source, Unreadable
from captioner.pipeline import CaptionPipeline
from captioner.prefetch import Busy, buffered, read_ahead

Given = Source | NamedPhoto | ImageError
"""A photo, or why there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionRecord:
    """What was said of one photo, without words and maps, or why it could not be read.

    Attributes:
        index: The number the photo was given.
        text: The caption, or None.
        score: What the search ranked it by, nats.
        logprob: Its log-probability, nats.
        others: What else the search considered, best first.
        error: Why there is no caption, or None.
    """

    index: int
    text: str | None
    score: float
    logprob: float
    others: tuple[Alternative, ...]
    error: ImageError | None


def tell(
    pipeline: CaptionPipeline,
    batches: Iterable[Sequence[tuple[int, Given]]],
    *,
    search: Search,
    readers: int = 0,
    busy: Busy | None = None,
) -> Iterator[list[CaptionRecord]]:
    """Caption photos without saying where words come from.

    Large JPEGs are decoded at a reduced scale, at twice the model's input or more, as in training.

    Args:
        pipeline: The model.
        batches: Numbered photos, encoded and decoded together; taken as they are needed. The numbers decide what a
            search that samples draws.
        search: How captions are chosen.
        readers: Threads that read ahead.
        busy: Counts the time in which a model computes.

    Yields:
        What was said of each photo of a batch, in order.
    """
    special = special_tokens(pipeline.model.tokenizer)
    busy = busy or Busy()
    with closing(buffered(_encoded(pipeline, batches, readers, busy))) as encoded:
        for ready, memories in encoded:
            captioned: Iterator[CaptionRecord] = iter(())
            if memories:
                numbers = [one.index for one in ready if isinstance(one, Ready)]
                with busy(), torch.no_grad(), pipeline.computing():
                    joined = pipeline.joined(search.for_images(numbers), memories[1:])
                    found = joined(pipeline.model.captioner.decoder, memories[0], special)
                    tokens, scores = found.tokens.tolist(), found.scores.tolist()
                    logprobs = found.token_logprobs[:, 0].sum(dim=-1).tolist()
                captioned = map(_Teller(pipeline), numbers, tokens, scores, logprobs)
            yield [
                CaptionRecord(one.index, None, 0.0, 0.0, (), one.error)
                if isinstance(one, Unreadable)
                else next(captioned)
                for one in ready
            ]


class _Teller:
    """Makes words of one photo's hypotheses: tokens `[K, L]` and scores `[K]`."""

    def __init__(self, pipeline: CaptionPipeline) -> None:
        self.tokenizer = pipeline.model.tokenizer

    def __call__(
        self, index: int, tokens: Sequence[Sequence[int]], scores: Sequence[float], logprob: float
    ) -> CaptionRecord:
        text = self.tokenizer.decode(tokens[0])
        others = other_captions(text, tokens[1:], scores[1:], self.tokenizer)
        return CaptionRecord(index, text, scores[0], logprob, others, None)


def _encoded(
    pipeline: CaptionPipeline,
    batches: Iterable[Sequence[tuple[int, Given]]],
    readers: int,
    busy: Busy,
) -> Iterator[tuple[list[Ready | Unreadable], list[Tensor]]]:
    """Each batch with the memory `[B, N, D]` of every model; none where no photo can be read."""
    models = (pipeline.model, *pipeline.ensemble)
    with closing(read_ahead(batches, PhotoReader(pipeline.transforms, small=True), readers=readers)) as read:
        for ready in chain.from_iterable(map(_of_one_size, read)):
            inputs = [one.inputs for one in ready if isinstance(one, Ready)]
            memories = []
            if inputs:
                with busy(), torch.no_grad(), pipeline.computing():
                    memories = [
                        model.captioner.encode(pipeline.images_of(of_model)).features
                        for model, of_model in zip(models, zip(*inputs, strict=True), strict=True)
                    ]
            yield ready, memories


def _of_one_size(ready: Sequence[Ready | Unreadable]) -> list[list[Ready | Unreadable]]:
    """A batch cut where the size of the inputs changes, as photos in their own shapes make it; the order stays."""
    parts: list[list[Ready | Unreadable]] = []
    last: list[torch.Size] | None = None
    for one in ready:
        size = [pixels.shape for pixels in one.inputs] if isinstance(one, Ready) else last
        if not parts or (last is not None and size != last):
            parts.append([])
        parts[-1].append(one)
        last = size
    return parts
