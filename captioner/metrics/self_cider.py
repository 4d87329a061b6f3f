"""Self-CIDEr: diversity of several captions of one image (Wang and Chan 2019).

-logₘ(√λ_max / Σ√λ)        λ the eigenvalues of the matrix of CIDEr between all m captions of an image
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from captioner.errors import DataError
from captioner.metrics.corpus_diversity import corpus_diversity
from captioner.metrics.document_frequency import DocumentFrequency, document_frequency
from captioner.metrics.ngrams import MAX_ORDER
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.report import Scores, common_ids, name_some, sign


def score_self_cider(
    captions: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    *,
    frequency: DocumentFrequency | None = None,
    strict: bool = True,
) -> Scores:
    """Self-CIDEr of each image, and distinct-1 and distinct-2 over all captions.

    Args:
        captions: At least two by image id, as written.
        references: By image id, as written; used for document frequencies only.
        frequency: Document frequencies; by default those of `references`.
        strict: Refuse images without captions or references. False measures the images that have both.

    Raises:
        DataError: An image has a single caption, or as `report.score_captions`.
    """
    ids, left_out = common_ids([captions], references, strict=strict)
    if single := [image for image in ids if len(captions[image]) < 2]:
        raise DataError(
            f"{len(single)} of the images have a single caption ({name_some(single)}); self-CIDEr compares the "
            "captions of an image: give at least two for each"
        )
    tokenized = ([tokenize(caption) for caption in references[image]] for image in ids)
    images = self_cider(
        {image: captions[image] for image in ids}, frequency or document_frequency(tokenized, "references")
    )
    overall = corpus_diversity([caption for image in ids for caption in captions[image]])
    return Scores(
        corpus={
            "self-CIDEr": float(np.mean(list(images.values()))),
            "distinct-1": overall.distinct_1,
            "distinct-2": overall.distinct_2,
        },
        images={image: {"self-CIDEr": value} for image, value in images.items()},
        signature=sign(ids, references, ("self-CIDEr",), frequency=frequency, decoding=None),
        left_out=left_out,
    )


def self_cider(
    captions: Mapping[str, Sequence[str]], frequency: DocumentFrequency | None = None
) -> dict[str, float]:
    """Self-CIDEr of each image, 0 (all captions alike) to 1 (no n-gram in common).

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
                # A minimum weight, so that captions of words that occur in every image are still distinguished.
                weight = max(log_documents - math.log(max(frequency.images.get(ngram, 0), 1)), 1e-6)
                vectors[row, ngrams[ngram]] = number * weight
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norms > 0, norms, 1.0)
        kernel += vectors @ vectors.T / MAX_ORDER
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel), 0.0))
    if not roots.sum():
        return 0.0  # all captions are empty
    return float(abs(-math.log(roots.max() / roots.sum()) / math.log(len(captions))))
