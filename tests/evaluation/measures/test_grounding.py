"""Are the figures those that are known by hand for planted maps?"""

from __future__ import annotations

import numpy as np
import pytest

from captioner.evaluation.measures.grounding import AVERAGE, CENTRE, CHANCE, Grounding, Mention, Row, ground
from captioner.evaluation.measures.heads import judge_heads
from captioner.evaluation.measures.target import centre_map, target
from captioner.image.geometry import Box, ImageGeometry

PHOTO = ImageGeometry((40, 40), 1, (0.0, 0.0, 40.0, 40.0), (32, 32))
GRID = (4, 4)


def region(box: Box) -> np.ndarray:
    mask = np.zeros((40, 40), dtype=bool)
    mask[int(box[0]) : int(box[2]), int(box[1]) : int(box[3])] = True
    return mask


def peak(row: int, col: int) -> np.ndarray:
    own = np.full(GRID, 0.02, np.float32)
    own[row, col] = 0.7
    return own


def mention(
    image: str, at: tuple[int, int], box: Box | None, *, kind: str = "dog", **methods: np.ndarray
) -> Mention:
    """A word whose attention has its peak in the cell `at`; heads: the first looks there, the second at the corner."""
    heads = np.stack([peak(*at), peak(3, 3)])[None]
    targets = {}
    if box is not None:
        mask = region(box)
        mask[:, : int(box[1]) + 1] = False  # the mask leaves out the first column of the box
        targets[GRID] = (target(mask, PHOTO, GRID), target(region(box), PHOTO, GRID))
    maps = {"attention": heads.mean(axis=(0, 1)), "sharp": peak(*at), **methods}
    return Mention(image, kind, kind, targets, maps, heads, centre_map(PHOTO, GRID))


TOP_LEFT: Box = (0.0, 0.0, 10.0, 10.0)
LARGE: Box = (10.0, 0.0, 40.0, 30.0)


def row(found: Grounding, words: str, method: str) -> Row:
    (one,) = [row for row in found.rows if (row.words, row.method) == (words, method)]
    return one


def planted() -> list[Mention]:
    return [
        mention("a", (0, 0), TOP_LEFT),
        mention("a", (0, 1), TOP_LEFT),
        mention("b", (2, 1), LARGE, kind="cat"),
        mention("c", (1, 1), None),
    ]


def test_figures_of_planted_maps() -> None:
    found = ground(planted(), least=1)
    assert (found.named, found.absent, found.images, found.unseen) == (3, 1, 3, 0)
    assert found.counts == {
        **{"all": 3, "small": 2, "large": 1, "medium": 2},
        **{"dog": 2, "cat": 1, "with absent": 4},
    }
    sharp = row(found, "all", "sharp")
    assert sharp.peak_in_box.value == pytest.approx(2 / 3)
    assert row(found, "small", "sharp").peak_in_box.value == 0.5
    assert row(found, "large", "sharp").peak_in_box.value == 1
    assert row(found, "with absent", "sharp").peak_in_box.value == 0.5
    # The box of the first is its cell: 0.7 of the map; of the second 0.02; nine cells of the third.
    assert sharp.mass_in_box.value == pytest.approx((0.7 + 0.02 + 0.7 + 8 * 0.02) / 3, abs=1e-6)
    # The mask has 9 of the 10 columns of the box.
    assert row(found, "small", "sharp").mass_in_mask.value == pytest.approx(0.9 * 0.72 / 2, abs=1e-6)
    assert row(found, "cat", "sharp").above_centre.value == 0


def test_baselines_stand_in_the_same_table() -> None:
    found = ground(planted())
    assert [row.method for row in found.rows if row.words == "all"] == [
        "attention", "sharp", CENTRE, AVERAGE, CHANCE,
    ]  # fmt: skip
    # The centre (20, 20) lies in the large box alone.
    assert row(found, "all", CENTRE).peak_in_box.value == pytest.approx(1 / 3)
    assert row(found, "small", CENTRE).peak_in_box.value == 0
    chance = row(found, "all", CHANCE)
    for figure in (chance.peak_in_box, chance.mass_in_box, chance.iou_box):
        assert figure.value == pytest.approx((1 / 16 + 1 / 16 + 9 / 16) / 3)
    assert row(found, "small", "sharp").above_centre.value == 0.5


def test_the_average_map_is_that_of_the_first_method_over_the_run() -> None:
    mentions = planted()
    mean = np.mean([m.maps["attention"] / m.maps["attention"].sum() for m in mentions[:3]], axis=0)
    inside = [mean[0, 0], mean[0, 0], mean[1:, :3].sum()]
    assert row(ground(mentions), "all", AVERAGE).mass_in_box.value == pytest.approx(np.mean(inside), abs=1e-6)


def test_photos_may_have_grids_of_their_own() -> None:
    """The average is taken on one grid, and each word judges it on its own."""
    mentions = []
    for image, grid in (("a", (4, 4)), ("b", (2, 4)), ("c", (4, 4))):
        heads = np.full((1, 1, *grid), 0.5 / (grid[0] * grid[1]), np.float32)
        heads[..., : grid[0] // 2, :1] += 0.5 / (grid[0] // 2)  # half of it on the upper left eighth
        seen = (target(region((0, 0, 20, 10)), PHOTO, grid),) * 2
        own = {"attention": heads[0, 0]}
        mentions.append(Mention(image, "dog", "dog", {grid: seen}, own, heads, centre_map(PHOTO, grid)))
    found = ground(mentions)
    for method in ("attention", AVERAGE):
        assert row(found, "all", method).mass_in_box.value == pytest.approx(0.5 + 0.5 / 8, abs=1e-6)
        assert row(found, "all", method).peak_in_box.value == 1


def test_the_order_of_words_does_not_matter() -> None:
    one, other = ground(planted()), ground(planted()[::-1])
    assert one.counts == other.counts
    assert [row.method for row in one.rows] == [row.method for row in other.rows]
    for a, b in zip(one.rows, other.rows, strict=True):
        assert a.peak_in_box == b.peak_in_box
        assert a.mass_in_mask.low == pytest.approx(b.mass_in_mask.low)


def test_a_map_that_is_the_box_scores_1() -> None:
    own = region(LARGE)[5::10, 5::10].astype(np.float32)
    found = row(ground([mention("a", (0, 0), LARGE, true=own)]), "all", "true")
    assert (found.peak_in_box.value, found.mass_in_box.value, found.iou_box.value) == pytest.approx((1, 1, 1))


def test_methods_may_have_grids_of_their_own() -> None:
    one = mention("a", (0, 0), TOP_LEFT)
    coarse = np.array([[1, 0], [0, 0]], np.float32)
    targets = {**one.targets, (2, 2): (target(region(TOP_LEFT), PHOTO, (2, 2)),) * 2}
    both = Mention("a", "dog", "dog", targets, {**one.maps, "coarse": coarse}, one.heads, one.centre)
    assert row(ground([both]), "all", "coarse").mass_in_box.value == pytest.approx(1 / 4)


def test_no_word_makes_no_table() -> None:
    for mentions in ([], [mention("c", (1, 1), None)]):
        found = ground(mentions)
        assert (found.rows, found.named, found.absent) == ([], 0, len(mentions))
        assert judge_heads(mentions) is None


def test_the_best_head_is_judged_on_photos_that_did_not_choose_it() -> None:
    """Heads of pure noise: the best looks good where it was chosen, and is worth chance on the other half."""
    rng = np.random.default_rng(0)
    mentions = []
    for k in range(300):
        one = mention(f"photo {k}", (0, 0), TOP_LEFT)
        heads = rng.random((4, 16, *GRID), dtype=np.float32)
        mentions.append(Mention(one.image, "dog", "dog", one.targets, one.maps, heads, one.centre))
    found = judge_heads(mentions)
    assert found is not None
    layer, head = found.best
    assert found.heads[layer - 1][head - 1] == np.max(found.heads) > 0.09
    assert found.chosen.value < 0.085
    assert found.chosen.low < 1 / 16 < found.chosen.high


def test_the_head_that_looks_is_found() -> None:
    mentions = [mention(f"photo {k}", (0, 0), TOP_LEFT) for k in range(6)]
    found = judge_heads(mentions)
    assert found is not None
    assert found.best == (1, 1)
    assert found.heads == [[1.0, 0.0]]
    assert (found.chosen.value, found.chosen_small.value, found.words, found.small) == (1, 1, 6, 6)
    assert found.layers == [0.5]  # the mean of both heads has two peaks, one of them inside
