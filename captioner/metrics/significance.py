"""Significance of score differences by the paired bootstrap over images (Koehn 2004)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.report import DEFAULT_METRICS, Scores, as_scores, common_ids, measure_captions, sign

_BATCH = 64  # samples computed at once


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of one metric between two sets of captions.

    Attributes:
        value: Second minus first, over all images.
        low: Lower end of the 95 % interval.
        high: Upper end. The difference is significant at 5 % if the interval excludes 0.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of captions of the same images.

    Attributes:
        first: Scores of the first set.
        second: Scores of the second.
        differences: For each metric, second minus first.
    """

    first: Scores
    second: Scores
    differences: dict[str, Difference]

    def differences_as_json(self) -> str:
        """JSON text of value, low and high by metric; null where a metric is undefined."""
        plain = {
            name: {key: None if np.isnan(value) else value for key, value in asdict(difference).items()}
            for name, difference in self.differences.items()
        }
        return json.dumps(plain, indent=1)


def compare_captions(
    first: Mapping[str, str],
    second: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    frequency: DocumentFrequency | None = None,
    strict: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Score two sets of captions and the difference of their scores.

    Each of `resamples` samples draws as many images as there are, with replacement, the same for both sets. Corpus
    values are recomputed on each sample, except for CIDEr's document frequencies, which stay those of all images.

    Args:
        first: Caption by image id.
        second: Caption by image id, of the same images.
        references: At least one caption by image id.
        metrics: As for `score_captions`.
        frequency: As for `score_captions`.
        strict: As for `score_captions`; False compares on the images that both sets and the references have.
        resamples: Number of samples, at least 100.
        seed: Seed of the samples.

    Raises:
        UsageError: Too few resamples, or an unknown metric.
        DataError: As `score_captions`.
    """
    if resamples < 100:
        raise UsageError(f"resamples={resamples} must be at least 100 for a 95 % interval")
    ids, left_out = common_ids([first, second], references, strict=strict)
    both = [
        measure_captions(ids, captions, references, metrics=metrics, frequency=frequency)
        for captions in (first, second)
    ]
    signature = sign(ids, references, both[0].metrics, frequency=frequency, decoding=None)
    scores = [as_scores(ids, measured, signature, left_out) for measured in both]

    random = np.random.default_rng(seed)
    gains: dict[str, list[NDArray[np.float64]]] = {name: [] for name in both[0].images}
    for begin in range(0, resamples, _BATCH):
        count = min(_BATCH, resamples - begin)
        draws = random.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=count)
        values = [measured.corpus(draws) for measured in both]
        for name in gains:
            gains[name].append(values[1][name] - values[0][name])
    differences = {}
    for name, parts in gains.items():
        low, high = np.quantile(np.concatenate(parts), [0.025, 0.975]).tolist()
        differences[name] = Difference(scores[1].corpus[name] - scores[0].corpus[name], low, high)
    return Comparison(scores[0], scores[1], differences)
