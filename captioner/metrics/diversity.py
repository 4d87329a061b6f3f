"""Do the captions differ from one another, or is it one sentence for every photo?

Sources: distinct-n, Li et al. 2016; self-CIDEr, Wang and Chan 2019.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from captioner.metrics.document_frequency import DocumentFrequency, document_frequency
from captioner.metrics.ngrams import MAX_ORDER
from captioner.metrics.ptb.ptb_tokenizer import tokenize


@dataclass(frozen=True, slots=True)
class Diversity:
    """How various some captions are.

    Attributes:
        captions: How many there are.
        distinct_captions: How many differ as tokenized.
        vocabulary: How many words they use.
        mean_length: Words in a caption, on average.
        distinct_1: Distinct words, as a share of all words, 0–1. It falls as captions are added.
        distinct_2: Distinct pairs of neighbouring words, as a share of all, 0–1.
        novel: Share of captions that are no training caption, 0–1; nan where none were given.
    """

    captions: int
    distinct_captions: int
    vocabulary: int
    mean_length: float
    distinct_1: float
    distinct_2: float
    novel: float


def diversity(captions: Sequence[str], training: Iterable[str] | None = None) -> Diversity:
    """Measure captions as written, tokenized as for the other metrics.

    Args:
        captions: One for each image.
        training: The captions the model was trained on, which are read one by one and not kept; None for unknown.
    """
    tokenized = [tokenize(caption) for caption in captions]
    split = [caption.split() for caption in tokenized]
    words = Counter(word for caption in split for word in caption)
    pairs = Counter(pair for caption in split for pair in pairwise(caption))
    distinct = set(tokenized)
    novel = math.nan
    if training is not None:
        new = distinct.difference(map(tokenize, training))
        novel = _share(sum(caption in new for caption in tokenized), len(captions))
    return Diversity(
        captions=len(captions),
        distinct_captions=len(distinct),
        vocabulary=len(words),
        mean_length=_share(words.total(), len(captions)),
        distinct_1=_share(len(words), words.total()),
        distinct_2=_share(len(pairs), pairs.total()),
        novel=novel,
    )


def self_cider(
    captions: Mapping[str, Sequence[str]], frequency: DocumentFrequency | None = None
) -> dict[str, float]:
    """How various the several captions of each image are, 0 (all alike) to 1 (nothing in common).

    With K the matrix of CIDEr between all captions of an image and λ its eigenvalues, it is
    -log_m(√λ_max / Σ√λ), for m captions.

    Args:
        captions: At least two captions by image id, as written.
        frequency: Document frequencies; by default those of `captions` themselves.

    Returns:
        By image id; nan for an image with fewer than two captions.
    """
    tokenized = {image: [tokenize(caption) for caption in of_image] for image, of_image in captions.items()}
    frequency = frequency or document_frequency(tokenized.values(), "captions")
    return {image: _self_cider(of_image, frequency) for image, of_image in tokenized.items()}


def _self_cider(captions: Sequence[str], frequency: DocumentFrequency) -> float:
    if len(captions) < 2:
        return math.nan
    kernel = np.zeros((len(captions), len(captions)))
    log_documents = math.log(max(frequency.num_images, 2))
    for order in range(1, MAX_ORDER + 1):
        counts = []
        for caption in captions:
            words = caption.split()
            counts.append(Counter(" ".join(words[i : i + order]) for i in range(len(words) - order + 1)))
        ngrams = {ngram: index for index, ngram in enumerate(dict.fromkeys(n for c in counts for n in c))}
        vectors = np.zeros((len(captions), max(len(ngrams), 1)))
        for row, count in enumerate(counts):
            for ngram, number in count.items():
                # At least a little weight, so that captions of words every image has are still told apart.
                weight = max(log_documents - math.log(max(frequency.images.get(ngram, 0), 1)), 1e-6)
                vectors[row, ngrams[ngram]] = number * weight
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norms > 0, norms, 1.0)
        kernel += vectors @ vectors.T / MAX_ORDER
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel), 0.0))
    if not roots.sum():
        return 0.0  # every caption is empty
    return float(abs(-math.log(roots.max() / roots.sum()) / math.log(len(captions))))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
