from __future__ import annotations

import numpy as np
import pytest

from captioner.explain.attention_stats import AttentionStats, elsewhere, entropy, health, pulse


def one(maps: np.ndarray, texts: list[str] | None = None, nouns: tuple[int, ...] = ()) -> AttentionStats:
    """The pulse of a caption with one layer of one head, or `[words, layers, heads, rows, cols]`."""
    heads = maps[:, None, None] if maps.ndim == 3 else maps
    felt = pulse(texts or ["w"] * len(heads), heads.astype(np.float32), nouns=nouns)
    assert felt is not None
    return felt


def spike(*at: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(at), 4, 4))
    for k, place in enumerate(at):
        maps[k][place] = 1
    return maps


def test_entropy_is_1_for_a_flat_map_and_0_for_a_point() -> None:
    assert entropy(np.full((2, 3), 1 / 6)) == pytest.approx(1)
    assert entropy(spike((0, 1))[0]) == pytest.approx(0)
    assert entropy(np.array([[0.5, 0.5], [0, 0]])) == pytest.approx(0.5)


def test_elsewhere_is_the_share_that_moved() -> None:
    assert elsewhere(spike((0, 0))[0], spike((1, 1))[0]) == 1
    assert elsewhere(np.array([[0.6, 0.4]]), np.array([[0.4, 0.6]])) == pytest.approx(0.2)


def test_figures_of_planted_maps() -> None:
    same = one(np.stack([spike((0, 0))[0]] * 3))
    moving = one(spike((0, 0), (1, 1), (3, 3)))
    found = health([same, moving])
    assert found.captions == 2
    assert found.entropy == pytest.approx(0)
    assert found.same_in_caption == pytest.approx(3 / 6)
    assert found.centre == pytest.approx(1 / 6)  # only (1, 1) lies in the middle quarter
    assert (found.still_heads, found.num_heads) == ([], 1)
    assert np.isnan(found.seen_nouns)
    flat = health([one(np.full((2, 5, 5), 0.04))])
    assert flat.centre == pytest.approx(0.25)


def test_what_nouns_and_function_words_see() -> None:
    maps = np.full((4, 2, 2), 0.25)
    maps[0] *= 0.2
    maps[2] *= 0.4
    felt = one(maps, ["A", "dog", "in", "snow"], nouns=(1,))
    found = health([felt])
    assert found.seen_nouns == pytest.approx(1)
    assert found.seen_function_words == pytest.approx(0.3)


def test_what_each_word_sees_is_told_of_those_that_stand_often() -> None:
    maps = np.full((2, 2, 2), 0.25)
    maps[0] *= 0.2
    felt = [one(maps * share, ["Of", "dog"]) for share in [1.0] * 5 + [0.5] * 5]
    assert health(felt).seen_words == pytest.approx({"of": 0.15, "dog": 0.75})
    assert health(felt[:9]).seen_words == {}


def test_a_head_that_never_moves_is_found() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((6, 2, 3, 4, 4)) ** 12
    maps[:, 1, 2] = maps[0, 1, 2]  # the same for every word and photo
    found = health([one(maps[:3]), one(maps[3:])])
    assert found.still_heads == [(2, 3)]
    assert found.num_heads == 6
    assert found.warning() is None


def test_photos_with_grids_of_their_own_are_compared_on_one() -> None:
    """A head that looks at the left half, on any grid, never moves; one that looks elsewhere each time does."""
    rng = np.random.default_rng(4)
    pulses = []
    for rows, cols in ((4, 6), (6, 4), (5, 8), (4, 6)):
        maps = np.zeros((5, 1, 2, rows, cols))
        maps[:, 0, 0, :, : cols // 2] = 2 / (rows * cols)
        maps[np.arange(5), 0, 1, rng.integers(rows, size=5), rng.integers(cols, size=5)] = 1
        pulses.append(one(maps))
    found = health(pulses)
    assert found.still_heads == [(1, 1)]
    assert (found.num_heads, found.warning()) == (2, None)
    assert found.same_in_run == 0
    alike = health([one(np.full((3, *grid), 1.0) * np.arange(1, 1 + grid[1])) for grid in ((4, 8), (8, 8))])
    assert alike.same_in_run == 1


def test_the_order_of_captions_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    pulses = [one(rng.random((k + 1, 2, 2, 3, 3))) for k in range(5)]
    assert health(pulses).entropy == pytest.approx(health(pulses[::-1]).entropy)
    assert health(pulses).same_in_run == health(pulses[::-1]).same_in_run


def collapsed() -> list[tuple[str, list[AttentionStats]]]:
    rng = np.random.default_rng(2)
    flat = [one(np.full((3, 4, 4), 1 / 16)) for _ in range(2)]
    in_caption = [one(np.stack([spike((k, k))[0]] * 4)) for k in range(4)]
    words = rng.random((4, 4, 4)) ** 6
    in_run = [one(words) for _ in range(3)]
    return [
        ("attention is flat", flat),
        ("100% of the words have nearly the same map as the rest of their caption", in_caption),
        ("100% of the captions have nearly the same map, whatever the photo", in_run),
    ]


@pytest.mark.parametrize(("message", "pulses"), collapsed())
def test_a_collapse_is_said_in_one_sentence(message: str, pulses: list[AttentionStats]) -> None:
    warning = health(pulses).warning()
    assert warning is not None
    assert message in warning
    assert "\n" not in warning


def test_a_healthy_model_is_left_in_peace() -> None:
    rng = np.random.default_rng(3)
    pulses = [one(np.eye(16)[rng.permutation(16)[:6]].reshape(6, 4, 4)) for _ in range(5)]
    assert health(pulses).warning() is None


def test_no_words_tell_nothing() -> None:
    assert pulse([], np.zeros((0, 1, 1, 2, 2), np.float32), nouns=()) is None
    nothing = health([])
    assert (nothing.captions, nothing.warning()) == (0, None)
    single = health([one(spike((0, 0)))])
    assert single.same_in_caption == 0
    assert single.warning() is None or "heads" in str(single.warning())
    assert health([one(np.zeros((1, 2, 2)))]).entropy == pytest.approx(1)  # a map without mass is flat
