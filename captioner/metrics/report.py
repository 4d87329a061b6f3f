"""Scores of a set of captions, with a signature that states what they may be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captioner.errors import DataError
from captioner.files import json_text
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.measure import Measured, check_metrics, measure
from captioner.metrics.ptb import ptb_tokenizer
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.version import __version__

DEFAULT_METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr-D")

_VARIANTS = {
    "BLEU": "BLEU:4-closest",
    "METEOR": "METEOR:1.5-en-norm",
    "METEOR[exact+stem]": "METEOR[exact+stem]:en-norm",
    "ROUGE-L": "ROUGE-L:beta1.2",
    "CIDEr-D": "CIDEr-D:n4-sigma6",
    "CIDEr": "CIDEr:n4",
    "SPICE": "SPICE:1.0",
    "self-CIDEr": "self-CIDEr:n4",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a set of captions.

    Attributes:
        corpus: Each metric's value over all images, by name ("BLEU-4"); nan where it is undefined, such as CIDEr of a
            single image.
        images: Each metric's value by image id.
        signature: One line that states what must agree for two scores to be comparable.
        left_out: Ids of images without candidate or reference; empty unless `strict=False`.
    """

    corpus: dict[str, float]
    images: dict[str, dict[str, float]]
    signature: str
    left_out: tuple[str, ...] = ()

    def as_json(self) -> str:
        """JSON text, `{"corpus": …, "images": …, "signature": …}`; null where a value is undefined."""

        def plain(values: Mapping[str, float]) -> dict[str, float | None]:
            return {name: None if np.isnan(value) else value for name, value in values.items()}

        images = {image: plain(values) for image, values in self.images.items()}
        return json_text(
            {"corpus": plain(self.corpus), "images": images, "signature": self.signature}, indent=1
        )


def score_captions(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    frequency: DocumentFrequency | None = None,
    strict: bool = True,
    decoding: str | None = None,
) -> Scores:
    """Score one caption for each image against its references.

    Images are processed in the order of their ids, so that captions gathered from several processes give exactly the
    scores of a single one.

    Args:
        candidates: Caption by image id, as written; they are tokenized here. An empty caption scores 0.
        references: At least one caption by image id, as written.
        metrics: Some of `METRICS`; "BLEU" gives BLEU-1 to BLEU-4. "METEOR" is named `METEOR[exact+stem]` where
            pycocoevalcap with its tables is not installed.
        frequency: CIDEr's document frequencies; by default those of `references`.
        strict: Refuse images without candidate or reference. False scores the images that have both.
        decoding: Description of the search, for the signature.

    Raises:
        UsageError: An unknown metric.
        DataError: An image lacks its candidate or its references, a caption is not a string, or there is no image to
            score.
    """
    ids, left_out = common_ids([candidates], references, strict=strict)
    measured = measure_captions(ids, candidates, references, metrics=metrics, frequency=frequency)
    signature = sign(ids, references, measured.metrics, frequency=frequency, decoding=decoding)
    return as_scores(ids, measured, signature, left_out)


def measure_captions(
    ids: Sequence[str],
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str],
    frequency: DocumentFrequency | None,
) -> Measured:
    """Compute metrics of the images `ids`, in that order. Raises as `score_captions`."""
    check_metrics(metrics)
    for image in ids:
        for caption in (candidates[image], *references[image]):
            if not isinstance(caption, str):
                raise DataError(f"a caption of image {image} is {caption!r}; it must be a string")
    return measure(
        [candidates[image] for image in ids], [references[image] for image in ids], metrics, frequency
    )


def as_scores(
    ids: Sequence[str], measured: Measured, signature: str, left_out: tuple[str, ...] = ()
) -> Scores:
    """Scores by image id from per-image arrays."""
    every_image_once = np.ones((1, len(ids)), np.int64)
    rows = zip(*(column.tolist() for column in measured.images.values()), strict=True)
    return Scores(
        corpus={name: float(value[0]) for name, value in measured.corpus(every_image_once).items()},
        images={
            image: dict(zip(measured.images, row, strict=True)) for image, row in zip(ids, rows, strict=True)
        },
        signature=signature,
        left_out=left_out,
    )


def name_some(ids: Sequence[str], limit: int = 5) -> str:
    """The first few ids, for a message: "12, 15, 18 and 4 more"."""
    shown = ", ".join(ids[:limit])
    return f"{shown} and {len(ids) - limit} more" if len(ids) > limit else shown


def wordless(candidates: Mapping[str, str]) -> str | None:
    """A warning that names the images whose candidate has no word and so scores 0; None if there are none."""
    empty = sorted(image for image, caption in candidates.items() if not tokenize(caption))
    if not empty:
        return None
    return (
        f"{len(empty)} captions have no word, or only punctuation, and score 0 ({name_some(empty)}); "
        "check those captions if that is not intended"
    )


def common_ids(
    candidates: Sequence[Mapping[str, object]], references: Mapping[str, Sequence[str]], *, strict: bool
) -> tuple[list[str], tuple[str, ...]]:
    """The sorted ids to score, and those left out.

    Args:
        candidates: One or more sets of candidates by image id; a scored image is in each.
        references: Captions by image id; an image with none counts as missing.
        strict: Raise if any would be left out.

    Raises:
        DataError: No image can be scored, or one would be left out despite `strict`.
    """
    referenced = {image for image, captions in references.items() if len(captions)}
    captioned = set.intersection(*(set(captions) for captions in candidates))
    anywhere = set.union(*(set(captions) for captions in candidates))
    if not referenced:
        raise DataError("no image has a reference caption; check the references file")
    if not all(candidates):
        raise DataError("no image has a candidate caption; check the candidates file")
    no_reference, no_candidate = sorted(anywhere - referenced), sorted(referenced - captioned)
    common = sorted(captioned & referenced)
    if not common:
        raise DataError(
            f"candidates (of {name_some(sorted(anywhere), 2)}) and references (of {name_some(no_candidate, 2)}) "
            "have no image in common; check that both name images in the same way"
        )
    for missing, what in (
        (no_reference, "have a candidate but no reference"),
        (no_candidate, "have references but no candidate"),
    ):
        if strict and missing:
            raise DataError(
                f"{len(missing)} of the images {what} ({name_some(missing)}); add them, or set strict=false to score "
                "the images that have both"
            )
    return common, tuple(sorted((anywhere | referenced) - set(common)))


def sign(
    ids: Sequence[str],
    references: Mapping[str, Sequence[str]],
    metrics: Sequence[str],
    *,
    frequency: DocumentFrequency | None,
    decoding: str | None,
) -> str:
    """The signature of scores: one line that states what must agree for two of them to be comparable."""
    digest = hashlib.sha256()
    for image in ids:
        digest.update("\0".join([image, *references[image], ""]).encode(errors="surrogatepass"))
    parts = [
        f"captioner:{__version__}",
        f"tok:ptb{ptb_tokenizer.VERSION}",
        *(_VARIANTS[name] for name in metrics),
    ]
    if any("CIDEr" in name for name in metrics):
        parts.append(f"df:{frequency.name}-{frequency.num_images}" if frequency else "df:references")
    parts += [f"images:{len(ids)}", f"refs:{sum(len(references[image]) for image in ids)}"]
    parts.append(f"split:{digest.hexdigest()[:12]}")
    if decoding:
        parts.append(f"decoding:{decoding}")
    return "|".join(parts)
