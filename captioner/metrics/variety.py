"""How various are several captions of one image, as sampled from a model? Self-CIDEr, under a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from captioner.errors import DataError
from captioner.metrics.diversity import diversity, self_cider
from captioner.metrics.document_frequency import DocumentFrequency, document_frequency
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.report import Scores, common_ids, name_some, sign


def score_variety(
    captions: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    *,
    frequency: DocumentFrequency | None = None,
    strict: bool = True,
) -> Scores:
    """Self-CIDEr of each image and, over all captions, distinct-1 and distinct-2.

    Args:
        captions: At least two by image id, as written.
        references: By image id, as written; nothing but document frequencies is taken from them.
        frequency: Document frequencies; by default those of `references`.
        strict: Refuse images without captions or references. False measures the images that have both.

    Raises:
        DataError: An image has a single caption, or as `report.score_captions`.
    """
    ids, left_out = common_ids([captions], references, strict=strict)
    if single := [image for image in ids if len(captions[image]) < 2]:
        raise DataError(
            f"{len(single)} of the images have a single caption ({name_some(single)}): self-CIDEr compares the "
            "captions of an image, so give each at least two."
        )
    tokenized = ([tokenize(caption) for caption in references[image]] for image in ids)
    images = self_cider(
        {image: captions[image] for image in ids}, frequency or document_frequency(tokenized, "references")
    )
    overall = diversity([caption for image in ids for caption in captions[image]])
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
