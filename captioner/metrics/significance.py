"""Is one set of captions really better than another? The paired bootstrap over images (Koehn 2004)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError
from captioner.metrics.document_frequency import DocumentFrequency
from captioner.metrics.report import DEFAULT_METRICS, Scores, as_scores, common_ids, measure_captions, sign

_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a metric gains from the first captions to the second.

    Attributes:
        value: Second minus first, over all images.
        low: Lower end of the 95 % interval.
        high: Upper end. Where the interval leaves out 0, the difference is more than chance.
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
        """JSON text, for each metric value, low and high; null where a metric is undefined."""
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
    """Score two sets of captions and their difference.

    As many images as there are, are drawn with replacement, the same for both sets, `resamples` times; each corpus
    value is computed anew on every draw, but for CIDEr's document frequencies, which stay those of all images.

    Args:
        first: Caption by image id.
        second: Caption by image id, of the same images.
        references: At least one caption by image id.
        metrics: As for `score_captions`.
        frequency: As for `score_captions`.
        strict: As for `score_captions`; False compares on the images that both sets and the references have.
        resamples: How many draws, at least 100.
        seed: Of the draws.

    Raises:
        UsageError: Too few resamples, or an unknown metric.
        DataError: As `score_captions`.
    """
    if resamples < 100:
        raise UsageError(f"resamples={resamples} is too few for a 95 % interval: take at least 100.")
    ids, left_out = common_ids([first, second], references, strict=strict)
    both = [
        measure_captions(ids, captions, references, metrics=metrics, frequency=frequency)
        for captions in (first, second)
    ]
    signature = sign(ids, references, both[0].metrics, frequency=frequency, decoding=None)
    scores = [as_scores(ids, measured, signature, left_out) for measured in both]

    random = np.random.default_rng(seed)
    gains: dict[str, list[NDArray[np.float64]]] = {name: [] for name in both[0].images}
    for begin in range(0, resamples, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, resamples - begin)
        draws = random.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=count)
        values = [measured.corpus(draws) for measured in both]
        for name in gains:
            gains[name].append(values[1][name] - values[0][name])
    differences = {}
    for name, parts in gains.items():
        low, high = np.quantile(np.concatenate(parts), [0.025, 0.975]).tolist()
        differences[name] = Difference(scores[1].corpus[name] - scores[0].corpus[name], low, high)
    return Comparison(scores[0], scores[1], differences)
