"""CIDEr and CIDEr-D (Vedantam et al. 2015).

    CIDEr   = 10/4 Σₙ meanⱼ  g(c)·g(sⱼ) / (‖g(c)‖ ‖g(sⱼ)‖)
    CIDEr-D = 10/4 Σₙ meanⱼ  e^(-(|c|-|sⱼ|)²/2σ²) min(g(c), g(sⱼ))·g(sⱼ) / (‖g(c)‖ ‖g(sⱼ)‖)

with g the tf-idf vector of n-grams, n from 1 to 4, over the references sⱼ of an image, and σ = 6. What coco-caption
prints as "CIDEr" is CIDEr-D, and `cider_d` equals it. As in the authors' code, words are not stemmed. Both depend on
the references of the whole corpus through the document frequencies.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.ngrams import MAX_ORDER, Corpus, find

SIGMA = 6.0
SCALE = 10.0


def cider_d(corpus: Corpus, frequency: DocumentFrequency | None = None) -> NDArray[np.float64]:
    """CIDEr-D of each image, float64 `[I]`, 0–10. The corpus value is the mean.

    Args:
        corpus: Candidates and references.
        frequency: Document frequencies; by default those of the corpus' own references, for which a corpus of one image
            gives nan.
    """
    return _cider(corpus, frequency, robust=True)


def cider(corpus: Corpus, frequency: DocumentFrequency | None = None) -> NDArray[np.float64]:
    """Plain CIDEr of each image, float64 `[I]`, 0–10: without clipping and length penalty. Arguments as `cider_d`."""
    return _cider(corpus, frequency, robust=False)


def _cider(corpus: Corpus, frequency: DocumentFrequency | None, *, robust: bool) -> NDArray[np.float64]:
    documents = frequency.num_images if frequency else corpus.num_images
    if documents < 2:
        return np.full(corpus.num_images, math.nan)
    total = np.zeros(len(corpus.image))
    for order in range(MAX_ORDER):
        candidates, references = corpus.candidates[order], corpus.references[order]
        if frequency:
            occurs = frequency.of(corpus, references.where, order + 1)
        else:
            occurs = np.bincount(
                corpus.reference_maxima[order].ngram, minlength=references.num_ngrams
            ).astype(float)
        weight = math.log(documents) - np.log(np.maximum(occurs, 1.0))
        of_candidate = candidates.count * weight[candidates.ngram]
        of_reference = references.count * weight[references.ngram]

        # Only n-grams of some candidate can be shared.
        in_candidates = np.zeros(references.num_ngrams, np.bool_)
        in_candidates[candidates.ngram] = True
        shared = np.flatnonzero(in_candidates[references.ngram])
        size = max(references.num_ngrams, 1)
        image = corpus.image[references.caption[shared]]
        at, found = find(
            candidates.caption * size + candidates.ngram, image * size + references.ngram[shared]
        )
        row = shared[found]
        left, right = of_candidate[at[found]], of_reference[row]
        product = (np.minimum(left, right) if robust else left) * right
        dot = np.bincount(references.caption[row], product, len(corpus.image))

        candidate_norm = np.sqrt(np.bincount(candidates.caption, of_candidate**2, corpus.num_images))
        reference_norm = np.sqrt(np.bincount(references.caption, of_reference**2, len(corpus.image)))
        norm = candidate_norm[corpus.image] * reference_norm
        total += np.divide(dot, norm, out=np.zeros(len(dot)), where=norm > 0)  # an empty bincount is int
    if robust:
        # coco-caption uses the number of bigrams as the length: one less, except for empty captions.
        bigrams = np.maximum(corpus.candidate_length - 1, 0)[corpus.image]
        delta = bigrams - np.maximum(corpus.reference_length - 1, 0)
        total *= np.exp(-(delta**2) / (2 * SIGMA**2))
    references_of_image = np.bincount(corpus.image, minlength=corpus.num_images)
    return SCALE / MAX_ORDER * np.bincount(corpus.image, total, corpus.num_images) / references_of_image
