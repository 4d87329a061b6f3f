from __future__ import annotations

import numpy as np
import pytest

from captioner.evaluation.measures.intervals import Bootstrap


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Words of one photo are alike: an interval that took them as independent would be too narrow."""
    rng = np.random.default_rng(0)
    covered, narrow = 0, 0
    trials, photos, words = 200, 40, 5
    for trial in range(trials):
        hits = np.repeat(rng.random(photos) < 0.3, words).astype(float)
        images = [f"{photo}" for photo in range(photos) for _ in range(words)]
        every = np.ones(len(hits), dtype=bool)
        (found,) = Bootstrap(images, resamples=400, seed=trial).means(hits[:, None], every)
        covered += found.low <= 0.3 <= found.high
        (single,) = Bootstrap([str(k) for k in range(len(hits))], resamples=400, seed=trial).means(
            hits[:, None], every
        )
        narrow += single.low <= 0.3 <= single.high
    assert 0.88 <= covered / trials <= 0.99
    assert narrow / trials < 0.8


def test_the_order_of_words_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    images = [f"photo {k % 7}" for k in range(30)]
    values, chosen = rng.random((30, 2)), rng.random(30) < 0.5
    order = rng.permutation(30)
    one = Bootstrap(images).means(values, chosen)
    other = Bootstrap([images[k] for k in order]).means(values[order], chosen[order])
    for a, b in zip(one, other, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_a_single_photo_has_no_width_and_no_word_no_value() -> None:
    (alone,) = Bootstrap(["a", "a"]).means(np.array([[0.0], [1.0]]), np.array([True, True]))
    assert (alone.value, alone.low, alone.high) == (0.5, 0.5, 0.5)
    (none,) = Bootstrap(["a"]).means(np.array([[1.0]]), np.array([False]))
    assert np.isnan([none.value, none.low, none.high]).all()
