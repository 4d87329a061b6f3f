"""Minimum-Bayes-risk selection among candidate captions by CIDEr-D.

Sources: Eikema & Aziz 2020 (sampling-based minimum Bayes risk); Vedantam et al. 2015 (CIDEr).

Axis letters: `B` images, `K` candidates of each image, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.decoding.constraints import NEG_INF
from captioner.decoding.hypotheses import Hypotheses, Search, SpecialTokens, StepDecoder
from captioner.metrics.cider import cider_d
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.ngrams import count_ngrams
from captioner.metrics.ptb.ptb_tokenizer import tokenize

EQUAL_WEIGHTS = DocumentFrequency(2, {}, "equal weights")
"""The same weight for every n-gram. Frequencies among the candidates would give n-grams common to all no weight."""


class MbrSearch:
    """The candidate with the largest mean CIDEr-D against the other candidates, each of them as a reference.

    A caption that was sampled several times counts as often. Hypotheses are sorted by their mean CIDEr-D; ties are
    broken by the score. Scores remain normalised log-probabilities.

    Args:
        candidates: The search that returns them; samples of the model for the risk under the model's own distribution.
        decode: Token ids to text.
        frequency: Document frequencies for CIDEr's weights, such as those of the training captions.
    """

    def __init__(
        self,
        candidates: Search,
        decode: Callable[[Sequence[int]], str],
        *,
        frequency: DocumentFrequency = EQUAL_WEIGHTS,
    ) -> None:
        self._candidates = candidates
        self._decode = decode
        self._frequency = frequency

    def for_images(self, images: Sequence[int]) -> MbrSearch:
        """The same search with the candidates for a batch of these images."""
        return MbrSearch(self._candidates.for_images(images), self._decode, frequency=self._frequency)

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        inner = self._candidates.spec()
        return {**inner, "search": f"mbr of {inner['search']}", "frequency": self._frequency.name}

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Caption all images of the memory `[B, N, D]`. Raises as the candidates' search does."""
        candidates = self._candidates(decoder, memory, special)
        orders = []
        for tokens, scores in zip(candidates.tokens.tolist(), candidates.scores.cpu().numpy(), strict=True):
            texts = [tokenize(self._decode(caption)) for caption in tokens]
            exists = scores > NEG_INF
            value = np.full(len(texts), NEG_INF)
            value[exists] = mean_cider_d(
                [text for text, is_caption in zip(texts, exists, strict=True) if is_caption], self._frequency
            )
            # The means of equal captions differ in the last bits.
            orders.append(np.lexsort((-scores, -value.round(9))))
        return candidates.select(torch.from_numpy(np.stack(orders)).to(candidates.tokens.device))


def mean_cider_d(candidates: Sequence[str], frequency: DocumentFrequency) -> NDArray[np.float64]:
    """Mean CIDEr-D of each tokenized candidate against all others, float64 `[K]`, 0 to 10; 0 for a single one."""
    if len(candidates) < 2:
        return np.zeros(len(candidates))
    others = [[*candidates[:i], *candidates[i + 1 :]] for i in range(len(candidates))]
    return cider_d(count_ngrams(candidates, others), frequency)
