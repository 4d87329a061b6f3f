"""How good are these captions, and what may the numbers be compared with? One call for the usual metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError
from captioner.metrics import ptb
from captioner.metrics.bleu import bleu
from captioner.metrics.cider import cider, cider_d
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.meteor import meteor
from captioner.metrics.ngrams import count_ngrams
from captioner.metrics.rouge import rouge_l

METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr-D", "CIDEr")
DEFAULT_METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr-D")

_VARIANTS = {
    "BLEU": "BLEU:4-closest",
    "METEOR": "METEOR:1.5-en-norm",
    "METEOR[exact+stem]": "METEOR[exact+stem]:en-norm",
    "ROUGE-L": "ROUGE-L:beta1.2",
    "CIDEr-D": "CIDEr-D:n4-sigma6",
    "CIDEr": "CIDEr:n4",
}


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of some captions.

    Attributes:
        corpus: Each metric's value over all images, by name ("BLEU-4"). nan where it is undefined, as CIDEr
        of a
            single image is.
        images: For each image id, each metric's value.
        signature: One line that says what must agree for two numbers to be comparable.
        left_out: Ids left out because they had no candidate or no reference; empty unless `strict=False`.
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
        return json.dumps(
            {"corpus": plain(self.corpus), "images": images, "signature": self.signature},
            ensure_ascii=False,
            indent=1,
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

    Images are taken in the order of their ids, so that several processes whose captions were gathered by id
    give the same digits as one.

    Args:
        candidates: Caption by image id, as written; it is tokenized here. An empty one scores 0.
        references: At least one caption by image id, as written.
        metrics: Which of `METRICS`; "BLEU" gives BLEU-1 to BLEU-4. "METEOR" comes back under another name,
            `METEOR[exact+stem]`, where pycocoevalcap with its tables is not installed.
        frequency: CIDEr's document frequencies; by default those of `references`.
        strict: Refuse images without candidate or reference. False scores the images that have both.
        decoding: How the captions were searched for, for the signature.

    Raises:
        UsageError: An unknown metric.
        DataError: An image lacks its candidate or its references (the message names ids), a caption is not a
        string,
            or there is no image to score.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"Unknown metric {unknown[0]!r}: choose from {', '.join(METRICS)}.")
    ids, left_out = _common_ids(candidates, references, strict=strict)
    _refuse_non_strings(ids, candidates, references)

    tokenized = [ptb.tokenize(candidates[image]) for image in ids]
    tokenized_references = [[ptb.tokenize(caption) for caption in references[image]] for image in ids]
    corpus: dict[str, float] = {}
    columns: dict[str, NDArray[np.float64]] = {}
    counts = count_ngrams(tokenized, tokenized_references)
    names = []
    for name in metrics:
        if name == "BLEU":
            whole, by_order = bleu(counts)
            for order, value in enumerate(whole.tolist()):
                corpus[f"BLEU-{order + 1}"] = value
                columns[f"BLEU-{order + 1}"] = by_order[:, order]
        elif name == "METEOR":
            scored = meteor(tokenized, tokenized_references)
            name, corpus[scored.name], columns[scored.name] = scored.name, scored.corpus, scored.images
        else:
            if name == "ROUGE-L":
                columns[name] = rouge_l(tokenized, tokenized_references)
            else:
                columns[name] = (cider_d if name == "CIDEr-D" else cider)(counts, frequency)
            corpus[name] = float(np.mean(columns[name]))
        names.append(name)

    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return Scores(
        corpus=corpus,
        images={image: dict(zip(columns, row, strict=True)) for image, row in zip(ids, rows, strict=True)},
        signature=_signature(ids, references, metrics=names, frequency=frequency, decoding=decoding),
        left_out=left_out,
    )


def name_some(ids: Sequence[str], limit: int = 5) -> str:
    """The first few ids, for a message: "12, 15, 18 and 4 more"."""
    shown = ", ".join(ids[:limit])
    return f"{shown} and {len(ids) - limit} more" if len(ids) > limit else shown


def _common_ids(
    candidates: Mapping[str, str], references: Mapping[str, Sequence[str]], *, strict: bool
) -> tuple[list[str], tuple[str, ...]]:
    referenced = {image for image, captions in references.items() if len(captions)}
    no_reference = sorted(candidates.keys() - referenced)
    no_candidate = sorted(referenced - candidates.keys())
    common = sorted(candidates.keys() & referenced)
    if not referenced:
        raise DataError("There is no reference caption for any image: check the references file.")
    if not common:
        raise DataError(
            f"Candidates (of {name_some(no_reference, 2)}) and references (of {name_some(no_candidate, 2)}) "
            "have no image in common: check that both name images in the same way."
            if candidates
            else "There is no candidate caption: check the candidates file."
        )
    remedy = "add what is missing, or pass strict=false to score the images that have both."
    if strict and no_reference:
        some = name_some(no_reference)
        raise DataError(f"{len(no_reference)} images have a candidate but no reference ({some}): {remedy}")
    if strict and no_candidate:
        some = name_some(no_candidate)
        raise DataError(f"{len(no_candidate)} images have references but no candidate ({some}): {remedy}")
    return common, tuple(sorted(no_reference + no_candidate))


def _refuse_non_strings(
    ids: Sequence[str], candidates: Mapping[str, object], references: Mapping[str, Sequence[object]]
) -> None:
    for image in ids:
        for caption in (candidates[image], *references[image]):
            if not isinstance(caption, str):
                raise DataError(f"A caption of image {image} is not text but {caption!r}: give a string.")


def _signature(
    ids: Sequence[str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str],
    frequency: DocumentFrequency | None,
    decoding: str | None,
) -> str:
    digest = hashlib.sha256()
    for image in ids:
        digest.update(json.dumps([image, *references[image]]).encode())
    try:
        release = version("captioner")
    except PackageNotFoundError:  # a plain checkout
        release = "source"
    parts = [f"captioner:{release}", f"tok:ptb{ptb.VERSION}", *(_VARIANTS[name] for name in metrics)]
    if any(name.startswith("CIDEr") for name in metrics):
        parts.append(f"df:{frequency.name}-{frequency.num_images}" if frequency else "df:references")
    parts += [f"images:{len(ids)}", f"refs:{sum(len(references[image]) for image in ids)}"]
    parts.append(f"split:{digest.hexdigest()[:12]}")
    if decoding:
        parts.append(f"decoding:{decoding}")
    return "|".join(parts)
