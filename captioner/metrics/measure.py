"""Metrics per image and of resampled corpora, shared by scores and significance tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError, did_you_mean
from captioner.metrics.bleu import Bleu, bleu
from captioner.metrics.cider import cider, cider_d
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.ngrams import MAX_ORDER, Ints, count_ngrams
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.rouge import rouge_l

if TYPE_CHECKING:
    from captioner.metrics.meteor.meteor import Meteor

METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr-D", "CIDEr", "SPICE")


def check_metrics(names: Sequence[str]) -> None:
    """Check that metrics exist and can be computed on this machine.

    Raises:
        UsageError: An unknown metric, no metric, or SPICE without what it needs.
    """
    if unknown := [name for name in names if name not in METRICS]:
        raise UsageError(
            f"unknown metric {unknown[0]}; choose from {', '.join(METRICS)}{did_you_mean(unknown[0], METRICS)}"
        )
    if not names:
        raise UsageError(f"metrics is empty; choose from {', '.join(METRICS)}")
    if "SPICE" in names:
        from captioner.metrics.spice import check_spice

        check_spice()


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Metrics of a set of captions.

    Attributes:
        metrics: Names of the metrics, in the order requested; METEOR under the name of the variant computed.
        images: float64 `[I]` by the name of the value, such as "BLEU-4".
    """

    metrics: tuple[str, ...]
    images: dict[str, NDArray[np.float64]]
    _bleu: Bleu | None
    _meteor: Meteor | None

    def corpus(self, draws: Ints) -> dict[str, NDArray[np.float64]]:
        """Each value of resampled corpora, float64 `[S]`.

        Args:
            draws: int64 `[S, I]`, how often each corpus contains each image.
        """
        orders = self._bleu.corpus(draws) if self._bleu else None
        values = {}
        for name, images in self.images.items():
            if orders is not None and name.startswith("BLEU-"):
                values[name] = orders[:, int(name[-1]) - 1]
            elif self._meteor and name == self._meteor.name:
                values[name] = self._meteor.corpus(draws)
            elif len(draws) == 1 and (draws == 1).all():
                values[name] = np.mean(images, keepdims=True)  # equal to coco-caption in the last digit
            else:
                values[name] = draws @ images / draws.sum(1)
        return values


def measure(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str],
    frequency: DocumentFrequency | None = None,
) -> Measured:
    """Tokenize captions and compute metrics.

    Args:
        candidates: One caption for each image, as written.
        references: At least one for each image, in the order of `candidates`.
        metrics: Some of `METRICS`.
        frequency: CIDEr's document frequencies; by default those of `references`.
    """
    tokenized = [tokenize(candidate) for candidate in candidates]
    tokenized_references = [[tokenize(caption) for caption in of_image] for of_image in references]
    counts = count_ngrams(tokenized, tokenized_references)
    names: list[str] = []
    images: dict[str, NDArray[np.float64]] = {}
    bleu_counts, meteor_counts = None, None
    for name in metrics:
        if name == "BLEU":
            bleu_counts = bleu(counts)
            by_order = bleu_counts.images()
            images |= {f"BLEU-{order + 1}": by_order[:, order] for order in range(MAX_ORDER)}
        elif name == "METEOR":
            # Imported here, since other metrics do not need what it loads.
            from captioner.metrics.meteor.meteor import meteor

            meteor_counts = meteor(tokenized, tokenized_references)
            name = meteor_counts.name
            images[name] = meteor_counts.images
        elif name == "ROUGE-L":
            images[name] = rouge_l(tokenized, tokenized_references)
        elif name == "SPICE":
            from captioner.metrics.spice import spice

            images[name] = spice(tokenized, tokenized_references)
        else:
            images[name] = (cider_d if name == "CIDEr-D" else cider)(counts, frequency)
        names.append(name)
    return Measured(tuple(names), images, bleu_counts, meteor_counts)
