"""Ensemble of decoders: the average of several models' next-token distributions.

Axis letters: `B` images, `K` beams, `D` width, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.decoding.hypotheses import Hypotheses, Search, SpecialTokens, StepDecoder
from captioner.errors import UsageError, did_you_mean

AVERAGES = ("logprobs", "probs")


@dataclass(slots=True, eq=False)
class EnsembleCache:
    """The caches of all members.

    Attributes:
        members: One cache for each member.
        hidden: `[B, K, D of all members]`: the members' hidden states, each normalised to length 1, so that a cosine
            between two is the mean of the members' cosines.
    """

    members: list[Any]
    hidden: Tensor | None = None

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        for cache in self.members:
            cache.select(rows)


class EnsembleDecoder:
    """Several decoders with the interface of one.

    Averages log-probabilities, renormalised by the search (a product of experts), or probabilities (a mixture).

    Args:
        first: The decoder of the memory that the search passes on.
        others: Decoders, each with its own memory `[B, N, D]` of the same images.
        average: `logprobs` or `probs`.

    Raises:
        UsageError: If `average` is unknown.
    """

    def __init__(
        self, first: StepDecoder, others: Sequence[tuple[StepDecoder, Tensor]], *, average: str = "logprobs"
    ) -> None:
        if average not in AVERAGES:
            raise UsageError(
                f"average={average} is unknown; choose from {', '.join(AVERAGES)}{did_you_mean(average, AVERAGES)}"
            )
        self._decoders = [first, *(decoder for decoder, _ in others)]
        self._memories = [memory for _, memory in others]
        self._average = average
        self.max_length = min(decoder.max_length for decoder in self._decoders)

    def init_cache(
        self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None
    ) -> EnsembleCache:
        """Empty caches; `memory` `[B, N, D]` is the first member's."""
        memories = [memory, *self._memories]
        return EnsembleCache(
            [
                decoder.init_cache(memory, num_beams=num_beams, max_length=max_length)
                for decoder, memory in zip(self._decoders, memories, strict=True)
            ]
        )

    def step(self, tokens: Tensor, cache: EnsembleCache) -> tuple[Tensor, EnsembleCache]:
        """The averaged log-probabilities `[B, K, V]` after the tokens `[B, K]`; see `averaged_logprobs`.

        Raises:
            UsageError: If the vocabularies differ in size.
        """
        logits = []
        for i, decoder in enumerate(self._decoders):
            member_logits, cache.members[i] = decoder.step(tokens, cache.members[i])
            logits.append(member_logits)
        averaged = averaged_logprobs(logits, average=self._average)
        hidden = [getattr(member, "hidden", None) for member in cache.members]
        states = [F.normalize(state.float(), dim=-1) for state in hidden if state is not None]
        cache.hidden = torch.cat(states, dim=-1) if len(states) == len(hidden) else None
        return averaged, cache


def averaged_logprobs(logits: Sequence[Tensor], *, average: str) -> Tensor:
    """Average of models' log-probabilities, float32 `[..., V]`; with `logprobs` it is not normalised.

    Args:
        logits: `[..., V]` of each model.
        average: As in `EnsembleDecoder`.

    Raises:
        UsageError: If the vocabularies differ in size.
    """
    sizes = [model_logits.shape[-1] for model_logits in logits]
    if len(set(sizes)) > 1:
        raise UsageError(
            f"the models of the ensemble have vocabularies of {', '.join(map(str, sizes))} tokens; combine models "
            "that were trained with the same tokenizer"
        )
    logprobs = torch.stack([model_logits.float().log_softmax(dim=-1) for model_logits in logits])
    if average == "probs":
        return logprobs.logsumexp(dim=0) - math.log(len(logits))
    return logprobs.mean(dim=0)


class EnsembleSearch:
    """A search over the ensemble of the decoder it is called with and others.

    Args:
        search: The search.
        others: Decoders, each with its own memory `[B, N, D]` of the images of the next call.
        average: As in `EnsembleDecoder`.
    """

    def __init__(
        self, search: Search, others: Sequence[tuple[StepDecoder, Tensor]], *, average: str = "logprobs"
    ) -> None:
        self._search = search
        self._others = others
        self._average = average

    def for_images(self, images: Sequence[int]) -> EnsembleSearch:
        """The same ensemble with the search for a batch of these images."""
        return EnsembleSearch(self._search.for_images(images), self._others, average=self._average)

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        return {**self._search.spec(), "ensemble": 1 + len(self._others), "average": self._average}

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search all images of the memory `[B, N, D]` of the first decoder."""
        return self._search(EnsembleDecoder(decoder, self._others, average=self._average), memory, special)
