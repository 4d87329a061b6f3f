"""Grounding of nouns: pointing, mass and overlap of maps with masks and boxes.

The pointing game follows Zhang et al. 2018 ("Top-down neural attention by excitation backprop"): a hit is a peak on any
of the objects that the word may name. The IoU follows Choe et al. 2020 ("Evaluating weakly supervised object
localization methods right"): one threshold for all words, the best one of each method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.evaluation.measures.intervals import Bootstrap, Estimate
from captioner.evaluation.measures.target import THRESHOLDS, Fit, Target, fit
from captioner.image.regrid import middle_grid, regrid

Grid = tuple[int, int]

SMALL = 0.25
"""Objects whose boxes cover less than this share of the photo are small."""
COCO_MEDIUM = 96**2 / (640 * 480)
"""COCO's limit between medium and large objects, as a share of its usual photo: 3 %."""

CENTRE, AVERAGE, CHANCE = "centre of the photo", "average map", "chance"


@dataclass(frozen=True, slots=True, eq=False)
class Mention:
    """A noun with its maps and the objects that it names.

    Attributes:
        image: Id of its photo.
        text: The word or words as written.
        kind: Its category.
        targets: For each grid of a map, the mask and the boxes of all objects that the noun may name. Empty if the
            photo has none.
        maps: By method: float32 `[rows, cols]`; the mean over words for a noun of several words.
        heads: float32 `[layers, heads, rows, cols]`: the cross-attention maps of every layer and head.
        centre: The map of the centre baseline, on the grid of `heads`.
    """

    image: str
    text: str
    kind: str
    targets: Mapping[Grid, tuple[Target, Target]]
    maps: Mapping[str, NDArray[np.float32]]
    heads: NDArray[np.float32]
    centre: NDArray[np.float32]

    @property
    def present(self) -> bool:
        """Whether the photo has such an object."""
        return bool(self.targets)

    @property
    def size(self) -> float:
        """Share of the photo that the boxes of its objects cover, 0–1."""
        return next(iter(self.targets.values()))[1].area if self.targets else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a method on some of the words. All figures are shares.

    Attributes:
        words: The set of words: "all", "small", "large", a size or a category.
        method: A method, or a baseline.
        peak_in_mask: Words whose map peaks on the mask.
        peak_in_box: Words whose map peaks in a box.
        mass_in_mask: Mean share of a map on the mask.
        mass_in_box: Mean share of a map in the boxes.
        iou_mask: Mean IoU of mask and region at the method's best threshold.
        iou_box: The same for boxes.
        above_centre: `peak_in_box` minus that of the centre of the photo, on the same words.
    """

    words: str
    method: str
    peak_in_mask: Estimate
    peak_in_box: Estimate
    mass_in_mask: Estimate
    mass_in_box: Estimate
    iou_mask: Estimate
    iou_box: Estimate
    above_centre: Estimate


@dataclass(frozen=True, slots=True)
class Grounding:
    """Grounding table of a run.

    Attributes:
        named: Nouns that name an object of their photo.
        absent: Nouns whose object is not in their photo; only the rows "with absent" count them.
        images: Photos with a noun of either sort.
        unseen: Nouns of `named` whose object was cropped away from the model's input; they count as misses.
        counts: Number of words in each set.
        thresholds: By method, the IoU's threshold for mask and box, as a share of the peak.
        rows: The table, by set of words, and in it methods before baselines.
    """

    named: int
    absent: int
    images: int
    unseen: int
    counts: dict[str, int]
    thresholds: dict[str, tuple[float, float]]
    rows: list[Row]


def ground(mentions: Sequence[Mention], *, least: int = 5) -> Grounding:
    """Grounding table of methods and three baselines.

    The baselines are the centre of the photo (a point for the peak, a Gaussian for mass and IoU), the first method's
    map averaged over all words of the run, and chance (a flat map over the photo).

    Args:
        mentions: All nouns of all photos.
        least: Categories with fewer words have no row of their own.
    """
    mentions = sorted(mentions, key=lambda mention: (mention.image, mention.text))
    named = [mention for mention in mentions if mention.present]
    methods = list(named[0].maps) if named else []
    scores = {method: _scores(named, [mention.maps[method] for mention in named]) for method in methods}
    thresholds = {}
    if named:
        scores |= _baselines(named, methods[0])
    tables = {}
    for method, found in scores.items():
        best = [int(found[:, 4 + k :: 2].mean(axis=0).argmax()) for k in range(2)]
        thresholds[method] = (float(THRESHOLDS[best[0]]), float(THRESHOLDS[best[1]]))
        iou = np.stack([found[:, 4 + 2 * best[0]], found[:, 5 + 2 * best[1]]], axis=1)
        above = found[:, 1:2] - scores[CENTRE][:, 1:2]
        tables[method] = np.concatenate([found[:, :4], iou, above], axis=1)
    everyone = Bootstrap([mention.image for mention in named]) if named else None
    rows, counts = [], {}
    for words, chosen in _sets(named, least=least).items():
        assert everyone is not None
        counts[words] = int(chosen.sum())
        rows += [Row(words, method, *everyone.means(table, chosen)) for method, table in tables.items()]
    if len(named) < len(mentions) and named:
        # Every figure of a word without an object is 0.
        zeros = np.zeros((len(mentions) - len(named), 7))
        both = Bootstrap([m.image for m in named] + [m.image for m in mentions if not m.present])
        counts["with absent"] = len(mentions)
        every = np.ones(len(mentions), dtype=bool)
        rows += [
            Row("with absent", method, *both.means(np.concatenate([table, zeros]), every))
            for method, table in tables.items()
        ]
    return Grounding(
        named=len(named),
        absent=len(mentions) - len(named),
        images=len({mention.image for mention in mentions}),
        unseen=sum(next(iter(m.targets.values()))[0].seen == 0 for m in named),
        counts=counts,
        thresholds=thresholds,
        rows=rows,
    )


def _scores(named: Sequence[Mention], maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Figures `[words, 4 + 2 * thresholds]`: peaks and masses on mask and box, then IoUs of both in turn."""
    rows = []
    for mention, own in zip(named, maps, strict=True):
        rows.append(_row(*(fit(own, to) for to in mention.targets[own.shape[0], own.shape[1]])))
    return np.stack(rows)


def _row(mask: Fit, box: Fit) -> NDArray[np.float64]:
    peaks_and_masses = [mask.pointing, box.pointing, mask.mass, box.mass]
    return np.concatenate([peaks_and_masses, np.stack([mask.iou, box.iou], axis=1).reshape(-1)])


def _baselines(named: Sequence[Mention], method: str) -> dict[str, NDArray[np.float64]]:
    centre = _scores(named, [mention.centre for mention in named])
    for row, mention in zip(centre, named, strict=True):
        mask, box = mention.targets[mention.centre.shape[0], mention.centre.shape[1]]
        row[:2] = mask.centre, box.centre  # the exact centre, not the nearest cell
    chance = []
    for mention in named:
        mask, box = next(iter(mention.targets.values()))
        chance.append(np.tile([mask.area, box.area], 2 + len(THRESHOLDS)))
    return {
        CENTRE: centre,
        AVERAGE: _scores(named, _averages([mention.maps[method] for mention in named])),
        CHANCE: np.stack(chance),
    }


def _averages(maps: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """For each map the average of all maps on its grid; native-shape photos differ in grid."""
    grids: list[Grid] = [(own.shape[0], own.shape[1]) for own in maps]
    common = middle_grid(grids)
    mean = np.mean([regrid(_shares(own), common) for own in maps], axis=0)
    averages = {grid: regrid(mean, grid).astype(np.float32) for grid in set(grids)}
    return [averages[grid] for grid in grids]


def _shares(own: NDArray[np.float32]) -> NDArray[np.float64]:
    positive = np.maximum(own, 0.0).astype(np.float64)
    shares: NDArray[np.float64] = positive / max(float(positive.sum()), 1e-12)
    return shares


def _sets(named: Sequence[Mention], *, least: int) -> dict[str, NDArray[np.bool_]]:
    """Masks of the words of each set of the table."""
    sizes = np.array([mention.size for mention in named])
    kinds = np.array([mention.kind for mention in named])
    sets = {
        "all": np.ones(len(named), dtype=bool),
        "small": sizes < SMALL,
        "large": sizes >= SMALL,
        "tiny": sizes < COCO_MEDIUM,
        "medium": (sizes >= COCO_MEDIUM) & (sizes < SMALL),
    }
    common = sorted(set(kinds.tolist()), key=lambda kind: (-int((kinds == kind).sum()), kind))
    sets |= {kind: kinds == kind for kind in common}
    return {
        words: chosen for words, chosen in sets.items() if chosen.sum() >= (least if words in common else 1)
    }
