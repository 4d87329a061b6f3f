"""Statistics of cross-attention maps: entropy, similarity across words and photos, centre bias, constant heads.

They show whether maps carry information at all: a map that is the same for every word or every photo looks convincing
on one picture and means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.image.regrid import middle_grid, regrid
from captioner.text.function_words import FUNCTION_WORDS

SAME = 0.1
"""Two maps count as the same below this total variation distance (share of the attention that lies elsewhere)."""
SAME_MEAN = 0.05
"""The same threshold for the mean maps of two captions, which are more alike since they are means over words."""
STILL = 0.02
"""A head is constant if less than this share of its maps' energy is outside their mean over all words and photos."""
FLAT = 0.98
"""Maps are flat if their entropy exceeds this share of the maximum."""
OFTEN = 10
"""A word's mean attention is reported from this number of occurrences."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionStats:
    """Statistics of one caption's maps: sums over its words.

    Attributes:
        words: Number of words.
        entropy: Entropy of each word's map, as a share of a flat map's.
        same: Words whose map is nearly the mean of the caption's other words' maps.
        centre: Share of each map in the middle quarter of the grid; 0.25 for a flat map.
        seen: Sum of the shares of attention on the picture and number of words, for "nouns" and "function words".
        seen_words: The same for each lower-cased word.
        mean: float32 `[rows, cols]`: mean of the words' maps, each normalised to sum 1.
        head_means: float32 `[layers, heads, rows, cols]`: the same for every head.
        head_energy: float64 `[layers, heads]`: sum over words of the maps' squared values.
    """

    words: int
    entropy: float
    same: int
    centre: float
    seen: Mapping[str, tuple[float, int]]
    seen_words: Mapping[str, tuple[float, int]]
    mean: NDArray[np.float32]
    head_means: NDArray[np.float32]
    head_energy: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AttentionHealth:
    """Statistics of the cross-attention maps of many captions. Figures are shares; nan where nothing was measured.

    Attributes:
        captions: Captions with words.
        entropy: Mean entropy of a word's map, as a share of that of a flat map; 1 carries no information.
        same_in_caption: Words whose map is nearly the mean of the other words' maps in its caption.
        same_in_run: Captions whose mean map is nearly the mean over all captions.
        centre: Mean share of a map in the middle quarter of the picture; 0.25 without a bias.
        still_heads: Heads whose maps are constant, as (layer, head) counted from 1.
        num_heads: Number of all heads.
        seen_nouns: Mean share of attention on the picture for nouns.
        seen_function_words: The same for function words; 1 for all words if there are no prefix tokens to attend to.
        seen_words: The same for each word that occurs at least `OFTEN` times, the most frequent first.
    """

    captions: int
    entropy: float
    same_in_caption: float
    same_in_run: float
    centre: float
    still_heads: list[tuple[int, int]]
    num_heads: int
    seen_nouns: float
    seen_function_words: float
    seen_words: dict[str, float]

    def warning(self) -> str | None:
        """A warning of one sentence if the maps have collapsed, else None."""
        if not self.captions:
            return None
        if self.entropy > FLAT:
            what = f"attention is flat (entropy {self.entropy:.1%} of the maximum)"
        elif self.same_in_caption > 0.9:
            what = f"{self.same_in_caption:.0%} of the words have nearly the same map as the rest of their caption"
        elif self.same_in_run > 0.9 and self.captions > 1:
            what = f"{self.same_in_run:.0%} of the captions have nearly the same map, whatever the photo"
        elif len(self.still_heads) == self.num_heads:
            what = f"all {self.num_heads} heads are constant over words and photos"
        else:
            return None
        return f"attention maps have collapsed: {what}; overlays of this model say nothing about the photo"


def attention_stats(
    texts: Sequence[str], heads: NDArray[np.float32], *, nouns: Container[int]
) -> AttentionStats | None:
    """Statistics of one caption's maps; None for a caption without words.

    Args:
        texts: Its words.
        heads: float32 `[words, layers, heads, rows, cols]`: cross-attention on the patches.
        nouns: Indices of the nouns.
    """
    if not len(heads):
        return None
    by_word = heads.mean(axis=(1, 2))
    maps = shares(by_word)
    words, rows, cols = maps.shape
    centre = maps * _middle_quarter(rows, cols)
    seen = {"nouns": (0.0, 0), "function words": (0.0, 0)}
    seen_words: dict[str, tuple[float, int]] = {}
    for k, text in enumerate(texts):
        word, mass = text.lower(), float(by_word[k].sum())
        kind = "nouns" if k in nouns else "function words" if word in FUNCTION_WORDS else None
        for sums, key in ((seen, kind), (seen_words, word)):
            if key:
                total, count = sums.get(key, (0.0, 0))
                sums[key] = (total + mass, count + 1)
    of_heads = shares(heads)
    others = (maps.sum(axis=0) - maps) / max(1, words - 1)
    same = total_variation(maps, others) < SAME if words > 1 else np.zeros(1, dtype=bool)
    return AttentionStats(
        words=words,
        entropy=float(entropy(maps).sum()),
        same=int(same.sum()),
        centre=float(centre.sum()),
        seen=seen,
        seen_words=seen_words,
        mean=maps.mean(axis=0).astype(np.float32),
        head_means=of_heads.mean(axis=0).astype(np.float32),
        head_energy=_energy(of_heads).sum(axis=0),
    )


def attention_health(stats: Sequence[AttentionStats]) -> AttentionHealth:
    """Combine the statistics of many captions; photos with different grids are compared on their middle grid."""
    if not stats:
        nan = float("nan")
        return AttentionHealth(0, nan, nan, nan, nan, [], 0, nan, nan, {})
    counts = np.array([one.words for one in stats], dtype=np.float64)
    words = counts.sum()
    grid = middle_grid([(one.mean.shape[0], one.mean.shape[1]) for one in stats])
    means = np.stack([regrid(one.mean, grid) for one in stats])
    run = np.average(means, axis=0, weights=counts)
    head_run = np.average([regrid(one.head_means, grid) for one in stats], axis=0, weights=counts)
    energy = np.sum([_energy_on(grid, one) for one in stats], axis=0) / words
    moving = 1 - _energy(head_run) / np.maximum(energy, 1e-300)
    masses = {
        kind: tuple(map(sum, zip(*(one.seen[kind] for one in stats), strict=True)))
        for kind in ("nouns", "function words")
    }
    totals: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    for one in stats:
        totals.update({word: total for word, (total, _) in one.seen_words.items()})
        occurrences.update({word: count for word, (_, count) in one.seen_words.items()})
    return AttentionHealth(
        captions=len(stats),
        entropy=sum(one.entropy for one in stats) / words,
        same_in_caption=sum(one.same for one in stats) / words,
        same_in_run=float((total_variation(means, run) < SAME_MEAN).mean()),
        centre=sum(one.centre for one in stats) / words,
        still_heads=[(int(layer) + 1, int(head) + 1) for layer, head in np.argwhere(moving < STILL)],
        num_heads=moving.size,
        seen_nouns=_ratio(*masses["nouns"]),
        seen_function_words=_ratio(*masses["function words"]),
        seen_words={
            word: totals[word] / count for word, count in occurrences.most_common() if count >= OFTEN
        },
    )


def shares(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Maps `[..., rows, cols]` normalised to sum 1; an all-zero map becomes flat."""
    values = maps.astype(np.float64)
    totals = values.sum(axis=(-2, -1), keepdims=True)
    flat = 1 / (maps.shape[-2] * maps.shape[-1])
    normalised: NDArray[np.float64] = np.where(totals > 0, values / np.where(totals > 0, totals, 1.0), flat)
    return normalised


def entropy(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of maps `[..., rows, cols]` that sum to 1, as a share of a flat map's: `[...]`, 0–1."""
    cells = maps.shape[-2] * maps.shape[-1]
    terms = np.where(maps > 0, maps * np.log(np.where(maps > 0, maps, 1.0)), 0.0)
    share: NDArray[np.float64] = np.abs(terms.sum(axis=(-2, -1))) / np.log(max(2, cells))
    return share


def total_variation(maps: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total variation distance of maps `[..., rows, cols]` that sum to 1: `[...]`, 0–1."""
    distance: NDArray[np.float64] = np.abs(maps - others).sum(axis=(-2, -1)) / 2
    return distance


def _energy(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the squared values of maps `[..., rows, cols]`: `[...]`."""
    energy: NDArray[np.float64] = (maps**2).sum(axis=(-2, -1))
    return energy


def _energy_on(grid: tuple[int, int], one: AttentionStats) -> NDArray[np.float64]:
    """The energy of a caption's heads on another grid: `[layers, heads]`.

    The words' maps are not kept. Their energy is assumed to change by the same factor as their mean's, which is exact
    for a constant head.
    """
    own = one.head_means.astype(np.float64)
    changes: NDArray[np.float64] = _energy(regrid(own, grid)) / np.maximum(_energy(own), 1e-300)
    return one.head_energy * changes


def _middle_quarter(rows: int, cols: int) -> NDArray[np.float64]:
    """Share of each cell within the middle half of the rows and of the columns: `[rows, cols]`, 0–1."""

    def along(count: int) -> NDArray[np.float64]:
        edges = np.arange(count + 1) / count
        inside: NDArray[np.float64] = np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25)
        return inside.clip(min=0.0) * count

    return np.outer(along(rows), along(cols))


def _ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")
