"""Which candidate do the others agree with? Minimum-Bayes-risk choice by CIDEr-D.

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
"""Every n-gram counts the same. Frequencies among the candidates would make what all of them say worthless."""


class MbrSearch:
    """Take the candidate with the largest mean CIDEr-D against the other candidates, each of them as a reference.

    A caption that was drawn several times counts as often. The order of the hypotheses is that of their mean CIDEr-D;
    on a tie the better score stands first. Scores stay what they are: normalised log-probabilities.

    Args:
        candidates: The search that gives them; samples of the model for the risk under the model's own distribution.
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
        """The same for a batch of these images."""
        return MbrSearch(self._candidates.for_images(images), self._decode, frequency=self._frequency)

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        inner = self._candidates.spec()
        return {**inner, "search": f"mbr of {inner['search']}", "frequency": self._frequency.name}

    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Choose for all images of the memory `[B, N, D]`. Raises as the candidates' search does."""
        found = self._candidates(decoder, memory, special)
        scores = found.scores.cpu().numpy()
        orders = []
        for tokens, score in zip(found.tokens.tolist(), scores, strict=True):
            texts = [tokenize(self._decode(one)) for one in tokens]
            there = score > NEG_INF
            value = np.full(len(texts), NEG_INF)
            value[there] = agreement(
                [text for text, is_one in zip(texts, there, strict=True) if is_one], self._frequency
            )
            # Equal captions differ in the last bits of their mean.
            orders.append(np.lexsort((-score, -value.round(9))))
        order = torch.from_numpy(np.stack(orders)).to(found.tokens.device)
        rows = order[:, :, None].expand_as(found.tokens)
        return Hypotheses(
            found.tokens.gather(1, rows), found.scores.gather(1, order), found.token_logprobs.gather(1, rows)
        )


def agreement(candidates: Sequence[str], frequency: DocumentFrequency) -> NDArray[np.float64]:
    """Mean CIDEr-D of each tokenized candidate against all others, float64 `[K]`, 0–10; 0 for one alone."""
    if len(candidates) < 2:
        return np.zeros(len(candidates))
    others = [[*candidates[:i], *candidates[i + 1 :]] for i in range(len(candidates))]
    return cider_d(count_ngrams(candidates, others), frequency)
