"""Does a candidate say what most references say? CIDEr and CIDEr-D (Vedantam et al. 2015).

Both are ten times the mean, over orders 1 to 4 and over references, of the cosine between tf-idf vectors of
n-grams. CIDEr-D also clips the candidate's weights at the reference's and multiplies by a Gaussian of the
difference in length. What coco-caption prints as "CIDEr" is CIDEr-D; it is the one here that equals it. Like
the authors' own code, neither stems the words. Both depend on the references of the whole corpus, through the
document frequencies.
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
        frequency: Document frequencies from elsewhere; by default those of the corpus' own references, under
        which
            a corpus of one image has no value: nan.
    """
    return _cider(corpus, frequency, robust=True)


def cider(corpus: Corpus, frequency: DocumentFrequency | None = None) -> NDArray[np.float64]:
    """Plain CIDEr of each image, float64 `[I]`, 0–10: unclipped, blind to length. Arguments as `cider_d`."""
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
            occurs = np.bincount(corpus.richest[order].ngram, minlength=references.num_ngrams).astype(float)
        weight = math.log(documents) - np.log(np.maximum(occurs, 1.0))
        of_candidate = candidates.count * weight[candidates.ngram]
        of_reference = references.count * weight[references.ngram]

        # Only what some candidate says can be shared.
        said = np.zeros(references.num_ngrams, np.bool_)
        said[candidates.ngram] = True
        shared = np.flatnonzero(said[references.ngram])
        size = max(references.num_ngrams, 1)
        image = corpus.image[references.caption[shared]]
        at, found = find(
            candidates.caption * size + candidates.ngram, image * size + references.ngram[shared]
        )
        row = shared[found]
        mine, theirs = of_candidate[at[found]], of_reference[row]
        product = (np.minimum(mine, theirs) if robust else mine) * theirs
        dot = np.bincount(references.caption[row], product, len(corpus.image))

        candidate_norm = np.sqrt(np.bincount(candidates.caption, of_candidate**2, corpus.num_images))
        reference_norm = np.sqrt(np.bincount(references.caption, of_reference**2, len(corpus.image)))
        norm = candidate_norm[corpus.image] * reference_norm
        total += np.divide(dot, norm, out=np.zeros(len(dot)), where=norm > 0)  # an empty bincount is int
    if robust:
        # The tools take the number of bigrams for the length: off by one, but for empty captions.
        bigrams = np.maximum(corpus.candidate_length - 1, 0)[corpus.image]
        delta = bigrams - np.maximum(corpus.reference_length - 1, 0)
        total *= np.exp(-(delta**2) / (2 * SIGMA**2))
    references_of_image = np.bincount(corpus.image, minlength=corpus.num_images)
    return SCALE / MAX_ORDER * np.bincount(corpus.image, total, corpus.num_images) / references_of_image
