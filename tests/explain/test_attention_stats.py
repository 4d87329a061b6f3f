from __future__ import annotations

import numpy as np
import pytest

from captioner.explain.attention_stats import (
    AttentionStats,
    attention_health,
    attention_stats,
    entropy,
    total_variation,
)


def one(maps: np.ndarray, texts: list[str] | None = None, nouns: tuple[int, ...] = ()) -> AttentionStats:
    """Statistics of a caption with one layer of one head, or `[words, layers, heads, rows, cols]`."""
    heads = maps[:, None, None] if maps.ndim == 3 else maps
    stats = attention_stats(texts or ["w"] * len(heads), heads.astype(np.float32), nouns=nouns)
    assert stats is not None
    return stats


def spike(*at: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(at), 4, 4))
    for k, place in enumerate(at):
        maps[k][place] = 1
    return maps


def test_entropy_is_1_for_a_flat_map_and_0_for_a_point() -> None:
    assert entropy(np.full((2, 3), 1 / 6)) == pytest.approx(1)
    assert entropy(spike((0, 1))[0]) == pytest.approx(0)
    assert entropy(np.array([[0.5, 0.5], [0, 0]])) == pytest.approx(0.5)


def test_total_variation_is_the_share_that_moved() -> None:
    assert total_variation(spike((0, 0))[0], spike((1, 1))[0]) == 1
    assert total_variation(np.array([[0.6, 0.4]]), np.array([[0.4, 0.6]])) == pytest.approx(0.2)


def test_figures_of_planted_maps() -> None:
    same = one(np.stack([spike((0, 0))[0]] * 3))
    moving = one(spike((0, 0), (1, 1), (3, 3)))
    found = attention_health([same, moving])
    assert found.captions == 2
    assert found.entropy == pytest.approx(0)
    assert found.same_in_caption == pytest.approx(3 / 6)
    assert found.centre == pytest.approx(1 / 6)  # only (1, 1) lies in the middle quarter
    assert (found.still_heads, found.num_heads) == ([], 1)
    assert np.isnan(found.seen_nouns)
    flat = attention_health([one(np.full((2, 5, 5), 0.04))])
    assert flat.centre == pytest.approx(0.25)


def test_attention_of_nouns_and_function_words() -> None:
    maps = np.full((4, 2, 2), 0.25)
    maps[0] *= 0.2
    maps[2] *= 0.4
    stats = one(maps, ["A", "dog", "in", "snow"], nouns=(1,))
    found = attention_health([stats])
    assert found.seen_nouns == pytest.approx(1)
    assert found.seen_function_words == pytest.approx(0.3)


def test_attention_of_each_word_is_reported_if_it_is_frequent() -> None:
    maps = np.full((2, 2, 2), 0.25)
    maps[0] *= 0.2
    stats = [one(maps * share, ["Of", "dog"]) for share in [1.0] * 5 + [0.5] * 5]
    assert attention_health(stats).seen_words == pytest.approx({"of": 0.15, "dog": 0.75})
    assert attention_health(stats[:9]).seen_words == {}


def test_a_head_that_never_moves_is_found() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((6, 2, 3, 4, 4)) ** 12
    maps[:, 1, 2] = maps[0, 1, 2]  # the same for every word and photo
    found = attention_health([one(maps[:3]), one(maps[3:])])
    assert found.still_heads == [(2, 3)]
    assert found.num_heads == 6
    assert found.warning() is None


def test_photos_with_grids_of_their_own_are_compared_on_one() -> None:
    """A head that looks at the left half, on any grid, never moves; one that looks elsewhere each time does."""
    rng = np.random.default_rng(4)
    stats = []
    for rows, cols in ((4, 6), (6, 4), (5, 8), (4, 6)):
        maps = np.zeros((5, 1, 2, rows, cols))
        maps[:, 0, 0, :, : cols // 2] = 2 / (rows * cols)
        maps[np.arange(5), 0, 1, rng.integers(rows, size=5), rng.integers(cols, size=5)] = 1
        stats.append(one(maps))
    found = attention_health(stats)
    assert found.still_heads == [(1, 1)]
    assert (found.num_heads, found.warning()) == (2, None)
    assert found.same_in_run == 0
    alike = attention_health(
        [one(np.full((3, *grid), 1.0) * np.arange(1, 1 + grid[1])) for grid in ((4, 8), (8, 8))]
    )
    assert alike.same_in_run == 1


def test_the_order_of_captions_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    stats = [one(rng.random((k + 1, 2, 2, 3, 3))) for k in range(5)]
    assert attention_health(stats).entropy == pytest.approx(attention_health(stats[::-1]).entropy)
    assert attention_health(stats).same_in_run == attention_health(stats[::-1]).same_in_run


def collapsed() -> list[tuple[str, list[AttentionStats]]]:
    rng = np.random.default_rng(2)
    flat = [one(np.full((3, 4, 4), 1 / 16)) for _ in range(2)]
    in_caption = [one(np.stack([spike((k, k))[0]] * 4)) for k in range(4)]
    words = rng.random((4, 4, 4)) ** 6
    in_run = [one(words) for _ in range(3)]
    return [
        ("attention is flat", flat),
        ("100% of the words", in_caption),
        ("100% of the captions", in_run),
    ]


@pytest.mark.parametrize(("message", "stats"), collapsed())
def test_a_collapse_is_one_sentence_of_warning(message: str, stats: list[AttentionStats]) -> None:
    warning = attention_health(stats).warning()
    assert warning is not None
    assert message in warning
    assert "\n" not in warning


def test_a_healthy_model_gets_no_warning() -> None:
    rng = np.random.default_rng(3)
    stats = [one(np.eye(16)[rng.permutation(16)[:6]].reshape(6, 4, 4)) for _ in range(5)]
    assert attention_health(stats).warning() is None


def test_captions_without_words() -> None:
    assert attention_stats([], np.zeros((0, 1, 1, 2, 2), np.float32), nouns=()) is None
    nothing = attention_health([])
    assert (nothing.captions, nothing.warning()) == (0, None)
    single = attention_health([one(spike((0, 0)))])
    assert single.same_in_caption == 0
    assert single.warning() is None or "heads" in str(single.warning())
    assert attention_health([one(np.zeros((1, 2, 2)))]).entropy == pytest.approx(
        1
    )  # a map without mass is flat
