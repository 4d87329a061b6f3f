"""Captioning engine: encode images, search captions, explain the best ones; with one model or an ensemble.

    images ─► encode ─► search ─► Hypotheses ─► `CaptionRecord`: text and scores, at full speed
                                      │
                    one teacher-forced pass over the best caption of each image
                                      ▼
                            explanation methods ─► `Caption`: words with maps

A search carries no attention. The teacher-forced pass gives the attention of every layer and head, and the same
log-probabilities as the search.

Axis letters: `B` images, `K` captions per image, `L` tokens, `N` image tokens, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from captioner.caption import Caption
from captioner.captioning.caption_text import caption_tokens, other_captions
from captioner.captioning.explained_captions import explained_captions
from captioner.decoding import EnsembleSearch, Hypotheses, Search
from captioner.decoding.hypotheses import special_tokens
from captioner.explain.attention import Attention
from captioner.explain.methods import Method
from captioner.explain.teacher_forcing import CaptionedBatch, Others, teacher_force
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner, Memory
from captioner.models.image_tokens import ImageTokens
from captioner.text.tokenizer import Tokenizer

_DEFAULT: tuple[Method, ...] = (Attention(),)


class CaptioningEngine:
    """Captions batches of images.

    Args:
        captioner: The model, in evaluation mode. Maps are those of this model.
        tokenizer: The model's.
        ensemble: Further models with the same tokenizer; all of them together choose and score each word.
        average: How their predictions are averaged, as in `EnsembleDecoder`.
        device: Where the models are.
        bf16: Encode and search in bfloat16. The teacher-forced pass and the explanations stay in float32, so that of a
            `Caption` only the scores are the search's own.
    """

    def __init__(
        self,
        captioner: Captioner,
        tokenizer: Tokenizer,
        *,
        ensemble: Sequence[Captioner] = (),
        average: str = "logprobs",
        device: str | torch.device = "cpu",
        bf16: bool = False,
    ) -> None:
        self.captioner = captioner
        self.tokenizer = tokenizer
        self.special = special_tokens(tokenizer)
        self.ensemble = tuple(ensemble)
        self.average = average
        self.device = torch.device(device)
        self.bf16 = bf16

    def stack(self, inputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The batch of each model.

        Args:
            inputs: For each photo its pixels `[3, rows, cols]` for each model.

        Returns:
            For each model `[B, 3, rows, cols]` on the device.
        """
        return [
            torch.stack(pixels).to(self.device, memory_format=torch.channels_last)
            for pixels in zip(*inputs, strict=True)
        ]

    @torch.no_grad()
    def encode(self, images: Sequence[Tensor | ImageTokens]) -> list[Memory]:
        """The memory of each model.

        Args:
            images: For each model, the ensemble's after the first, float `[B, 3, rows, cols]`, normalised; or its
                encoder's output.
        """
        captioners = (self.captioner, *self.ensemble)
        with self._autocast():
            return [model.encode(batch) for model, batch in zip(captioners, images, strict=True)]

    @torch.no_grad()
    def search(
        self, memories: Sequence[Memory], search: Search, *, numbers: Sequence[int] | None = None
    ) -> Hypotheses:
        """Captions of encoded images, best first.

        Args:
            memories: What `encode` returned.
            search: How captions are chosen.
            numbers: The number of each image in the caller's stream, which decides what a search that samples draws:
                captions do not depend on how images are batched. None: the place in the batch, from 0.
        """
        if numbers is not None:
            search = search.for_images(numbers)
        if self.ensemble:
            search = EnsembleSearch(search, self._others(memories), average=self.average)
        with self._autocast():
            return search(self.captioner.decoder, memories[0].features, self.special)

    @torch.no_grad()
    def caption(
        self,
        images: Sequence[Tensor],
        geometries: Sequence[ImageGeometry],
        *,
        search: Search,
        methods: Sequence[Method] = _DEFAULT,
        numbers: Sequence[int] | None = None,
    ) -> list[Caption]:
        """The best caption of each image, with its maps: encode, search, explain.

        Args:
            images: For each model, as in `encode`.
            geometries: Where each input of the first model lies on its photo.
            search: How captions are chosen.
            methods: How they are explained; the first gives `Word.map`. They do not change the captions.
            numbers: As in `search`.
        """
        with self._autocast():
            encoded = self.captioner.encoder(images[0])
        memories = self.encode([encoded, *images[1:]])
        found = self.search(memories, search, numbers=numbers)
        memories = [replace(memory, features=memory.features.float()) for memory in memories]
        captions = self._explain(
            images[0],
            None if self.bf16 else encoded,
            memories[0],
            self._best(found),
            found.scores[:, 0],
            geometries,
            methods,
            others=self._others(memories),
        )
        further = zip(found.tokens[:, 1:].tolist(), found.scores[:, 1:].tolist(), strict=True)
        return [
            replace(caption, others=other_captions(caption.text, tokens, scores, self.tokenizer))
            for caption, (tokens, scores) in zip(captions, further, strict=True)
        ]

    @torch.no_grad()
    def explain(
        self,
        images: Tensor,
        geometries: Sequence[ImageGeometry],
        texts: Sequence[str],
        *,
        methods: Sequence[Method] = _DEFAULT,
    ) -> list[Caption]:
        """Given captions, one for each image, explained by the first model as if its search had chosen them.

        Args:
            images: float `[B, 3, rows, cols]`, normalised.
            geometries: Where each image lies on its photo.
            texts: The captions.
            methods: As in `caption`.

        Returns:
            The captions; the score of each is its log-probability.

        Raises:
            UsageError: If a caption has no words, too many, or words that the model does not know.
        """
        tokens = caption_tokens(texts, self.tokenizer, self.captioner.decoder.max_length).to(self.device)
        encoded = self.captioner.encoder(images)
        memory = self.captioner.encode(encoded)
        return self._explain(images, encoded, memory, tokens, None, geometries, methods)

    def _explain(
        self,
        images: Tensor,
        encoded: ImageTokens | None,
        memory: Memory,
        tokens: Tensor,
        scores: Tensor | None,
        geometries: Sequence[ImageGeometry],
        methods: Sequence[Method],
        *,
        others: Others = (),
    ) -> list[Caption]:
        """One teacher-forced pass over the captions `tokens` `[B, 1, L]`, then the methods.

        `encoded` is the encoder's output in float32 for the methods that need it, or None. `scores` are `[B]` nats;
        None stands for the log-probabilities.
        """
        forced = teacher_force(
            self.captioner, memory, tokens, self.special, others=others, average=self.average
        )
        if scores is None:
            scores = forced.token_logprobs[:, 0].sum(dim=-1)
        batch = CaptionedBatch(
            self.captioner, images, memory, tokens[:, 0], self.special, forced, encoded=encoded
        )
        return explained_captions(batch, scores, self.tokenizer, geometries, methods)

    def _best(self, hypotheses: Hypotheses) -> Tensor:
        """The first caption `[B, 1, L]` of each image, without padding that all of them have."""
        best = hypotheses.tokens[:, :1]
        longest = int((best != self.special.pad).sum(dim=-1).max())
        return best[:, :, :longest]

    def _others(self, memories: Sequence[Memory]) -> Others:
        """The decoders of the ensemble after the first model, each with its own memory `[B, N, D]`."""
        return [
            (model.decoder, memory.features)
            for model, memory in zip(self.ensemble, memories[1:], strict=True)
        ]

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
