"""What do several models say together? A decoder whose next-token probabilities are those of several, averaged.

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
from captioner.errors import UsageError

AVERAGES = ("logprobs", "probs")


@dataclass(slots=True, eq=False)
class EnsembleCache:
    """The caches of all members.

    Attributes:
        members: One each.
        hidden: `[B, K, D of all members]`: their hidden states, each of length 1, so that a cosine between two is the
            mean of the members' cosines.
    """

    members: list[Any]
    hidden: Tensor | None = None

    def select(self, rows: Tensor) -> None:
        """Let beam k of image b continue from beam `rows[b, k]`."""
        for cache in self.members:
            cache.select(rows)


class EnsembleDecoder:
    """Several decoders as one.

    Log-probabilities are averaged and normalised anew (a product of experts), or probabilities are (a mixture).

    Args:
        first: Reads the memory that the search is given.
        others: Decoders, each with its own memory `[B, N, D]` of the same images.
        average: `logprobs` or `probs`.

    Raises:
        UsageError: If `average` is not known.
    """

    def __init__(
        self, first: StepDecoder, others: Sequence[tuple[StepDecoder, Tensor]], *, average: str = "logprobs"
    ) -> None:
        if average not in AVERAGES:
            raise UsageError(f"average={average} is unknown; choose from {', '.join(AVERAGES)}")
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
        """The averaged log-probabilities `[B, K, V]` after the tokens `[B, K]`.

        Raises:
            UsageError: If the vocabularies are not of one size.
        """
        each = []
        for i, decoder in enumerate(self._decoders):
            logits, cache.members[i] = decoder.step(tokens, cache.members[i])
            each.append(logits)
        averaged = averaged_logprobs(each, average=self._average)
        hidden = [getattr(member, "hidden", None) for member in cache.members]
        states = [F.normalize(state.float(), dim=-1) for state in hidden if state is not None]
        cache.hidden = torch.cat(states, dim=-1) if len(states) == len(hidden) else None
        return averaged, cache


def averaged_logprobs(logits: Sequence[Tensor], *, average: str) -> Tensor:
    """What models say together: log-probabilities `[..., V]` in float32, of `logprobs` up to a constant.

    Args:
        logits: `[..., V]` of each.
        average: As in `EnsembleDecoder`.

    Raises:
        UsageError: If the vocabularies are not of one size.
    """
    sizes = [of_model.shape[-1] for of_model in logits]
    if len(set(sizes)) > 1:
        raise UsageError(
            f"the models of the ensemble have vocabularies of {', '.join(map(str, sizes))} tokens; join models "
            "that were trained with one tokenizer"
        )
    together = torch.stack([of_model.float().log_softmax(dim=-1) for of_model in logits])
    if average == "probs":
        return together.logsumexp(dim=0) - math.log(len(logits))
    return together.mean(dim=0)


class EnsembleSearch:
    """A search over the ensemble of the decoder it is given and others.

    Args:
        search: How captions are chosen.
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
        """The same for a batch of these images."""
        return EnsembleSearch(self._search.for_images(images), self._others, average=self._average)

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        return {**self._search.spec(), "ensemble": 1 + len(self._others), "average": self._average}

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Search all images of the memory `[B, N, D]` of the first decoder."""
        return self._search(EnsembleDecoder(decoder, self._others, average=self._average), memory, special)
