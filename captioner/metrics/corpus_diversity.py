"""Diversity of a corpus of captions: vocabulary, distinct-n (Li et al. 2016) and novelty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from captioner.metrics.ptb.ptb_tokenizer import tokenize


@dataclass(frozen=True, slots=True)
class CorpusDiversity:
    """Diversity of a set of captions.

    Attributes:
        captions: Number of captions.
        distinct_captions: Number of different captions, as tokenized.
        vocabulary: Number of different words.
        mean_length: Mean number of words in a caption.
        distinct_1: Different words over all words, 0–1. It falls as captions are added.
        distinct_2: Different word bigrams over all bigrams, 0–1.
        novel: Fraction of captions that are not training captions, 0–1; nan where those are unknown.
    """

    captions: int
    distinct_captions: int
    vocabulary: int
    mean_length: float
    distinct_1: float
    distinct_2: float
    novel: float


def corpus_diversity(captions: Sequence[str], training: Iterable[str] | None = None) -> CorpusDiversity:
    """Measure captions as written, tokenized as for the other metrics.

    Args:
        captions: One for each image.
        training: The captions the model was trained on, consumed one by one; None where unknown.
    """
    tokenized = [tokenize(caption) for caption in captions]
    split = [caption.split() for caption in tokenized]
    words = Counter(word for caption in split for word in caption)
    pairs = Counter(pair for caption in split for pair in pairwise(caption))
    distinct = set(tokenized)
    novel = math.nan
    if training is not None:
        new = distinct.difference(map(tokenize, training))
        novel = _ratio(sum(caption in new for caption in tokenized), len(captions))
    return CorpusDiversity(
        captions=len(captions),
        distinct_captions=len(distinct),
        vocabulary=len(words),
        mean_length=_ratio(words.total(), len(captions)),
        distinct_1=_ratio(len(words), words.total()),
        distinct_2=_ratio(len(pairs), pairs.total()),
        novel=novel,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
