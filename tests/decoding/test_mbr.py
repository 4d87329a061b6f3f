"""Minimum-Bayes-risk search against its definition, and ties."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from captioner.decoding import BeamSearch, MbrSearch, SampleSearch, Search
from captioner.decoding.mbr import EQUAL_WEIGHTS, mean_cider_d
from captioner.metrics.cider import cider_d
from captioner.metrics.document_frequency import document_frequency
from captioner.metrics.ngrams import count_ngrams
from tests.decoding.conftest import EOS, PAD, SPECIAL, captions, decoder, memory

NAMES = ["", "", "", "", "a", "dog", "runs", "on", "grass", "two", "men", "red", "ball"]
FREQUENCY = document_frequency([["a dog runs"], ["two men on grass"], ["a red ball"]], "three")


def decode(ids: list[int]) -> str:
    return " ".join(NAMES[i] for i in ids if i not in (PAD, EOS))


@pytest.mark.parametrize("frequency", [EQUAL_WEIGHTS, FREQUENCY])
@pytest.mark.parametrize(
    "inner", [SampleSearch(9, seed=1, temperature=1.5, max_length=8), BeamSearch(5, max_length=8)]
)
def test_captions_are_sorted_by_mean_cider_d(inner: Search, frequency: object) -> None:
    model, images = decoder(9, seed=3), memory(4)
    plain = captions(inner(model, images, SPECIAL))
    search = MbrSearch(inner, decode, frequency=frequency)  # type: ignore[arg-type]
    result = search(model, images, SPECIAL)
    changed = 0
    for before, after, scores in zip(plain, captions(result), result.scores.tolist(), strict=True):
        assert sorted(before) == sorted(after)
        texts = [decode(caption) for caption in after]
        # Definition: the mean over single pairs.
        means = [
            np.mean(
                [
                    cider_d(count_ngrams([text], [[other]]), frequency)[0]  # type: ignore[arg-type]
                    for k, other in enumerate(texts)
                    if k != i
                ]
            )
            for i, text in enumerate(texts)
        ]
        assert all(a >= b - 1e-9 for a, b in pairwise(means))
        for i in range(len(means) - 1):
            assert means[i] > means[i + 1] + 1e-9 or scores[i] >= scores[i + 1]
        changed += before[0] != after[0]
    assert changed or isinstance(inner, BeamSearch)


def test_frequent_candidates_have_the_largest_mean() -> None:
    texts = ["a dog runs on grass", "a dog runs on red grass", "two men on a ball", "two men on a ball"]
    assert (
        mean_cider_d(texts, EQUAL_WEIGHTS)[2]
        == mean_cider_d(texts, EQUAL_WEIGHTS)[3]
        > mean_cider_d(texts, EQUAL_WEIGHTS)[0]
    )
    assert mean_cider_d(texts[:3], EQUAL_WEIGHTS).argmin() == 2
    assert mean_cider_d(texts[:1], EQUAL_WEIGHTS).tolist() == [0.0]
