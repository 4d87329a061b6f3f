"""Do maps move at all? Entropy, sameness, centre bias, heads that never move, and what words see of the picture.

All that is asked of a map is whether it can say anything: a map that is the same for every word, or for every photo,
looks convincing on one picture and means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.image.regrid import middle_grid, regrid

SAME = 0.1
"""Two maps are nearly the same where less than this share of the attention lies elsewhere (total variation)."""
SAME_MEAN = 0.05
"""The same for the mean maps of two captions, which are more alike since they are means over words."""
STILL = 0.02
"""A head never moves where less than this share of its maps' energy is outside their mean over all words and photos."""
FLAT = 0.98
"""Maps are flat where their entropy is more than this share of the most there can be."""
OFTEN = 10
"""What a word sees on average is told of words that stand so often."""

_FUNCTION_WORDS = """
a an the this that these those some any each his her its their my your our he she it they who which there is are was
were be been being has have had do does and or but of in on at to by with from for as into onto over under up down out
off through while when than
"""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionStats:
    """What is kept of one caption's maps: sums over its words.

    Attributes:
        words: How many there are.
        entropy: Of each word's map, as a share of a flat map's.
        same: Words whose map is nearly the mean of the caption's other words' maps.
        centre: Share of each map in the middle quarter of the grid; a flat map has a quarter there.
        seen: Sum of the shares of attention on the picture and number of words, for "nouns" and "function words".
        seen_words: The same for each word, in small letters.
        mean: float32 `[rows, cols]`: the mean of its words' maps, as shares.
        head_means: float32 `[layers, heads, rows, cols]`: the same of every head.
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
class Health:
    """What can be said of a run's cross-attention maps. All figures are shares, nan where there is nothing to tell.

    Attributes:
        captions: Captions with words.
        entropy: Mean entropy of a word's map, as a share of that of a flat map: 1 tells nothing.
        same_in_caption: Words whose map is nearly the mean of the other words' maps in its caption.
        same_in_run: Captions whose mean map is nearly the mean over all captions.
        centre: Mean share of a map in the middle quarter of the picture; 0.25 where there is no bias.
        still_heads: Heads that never move, as (layer, head) counted from 1.
        num_heads: All heads.
        seen_nouns: Mean share of attention on the picture for words that name things.
        seen_function_words: The same for function words: 1 for all where there is nothing else to attend to.
        seen_words: The same for each word that stands at least `OFTEN` times, the most frequent first.
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
        """One sentence where maps have collapsed and overlays would mean nothing, else None."""
        if not self.captions:
            return None
        if self.entropy > FLAT:
            what = f"attention is flat (entropy {self.entropy:.1%} of the most there can be)"
        elif self.same_in_caption > 0.9:
            what = f"{self.same_in_caption:.0%} of the words have nearly the same map as the rest of their caption"
        elif self.same_in_run > 0.9 and self.captions > 1:
            what = f"{self.same_in_run:.0%} of the captions have nearly the same map, whatever the photo"
        elif len(self.still_heads) == self.num_heads:
            what = f"none of the {self.num_heads} heads moves with word or photo"
        else:
            return None
        return f"attention maps have collapsed: {what}; overlays of this model tell nothing about the photo"


def pulse(
    texts: Sequence[str], heads: NDArray[np.float32], *, nouns: Container[int]
) -> AttentionStats | None:
    """Feel one caption's maps; None for a caption without words.

    Args:
        texts: Its words.
        heads: float32 `[words, layers, heads, rows, cols]`: cross-attention on the patches.
        nouns: Indices of the words that name things.
    """
    if not len(heads):
        return None
    by_word = heads.mean(axis=(1, 2))
    maps = shares(by_word)
    words, rows, cols = maps.shape
    centre = maps * _middle_quarter(rows, cols)
    seen = {"nouns": (0.0, 0), "function words": (0.0, 0)}
    seen_words: dict[str, tuple[float, int]] = {}
    function_words = frozenset(_FUNCTION_WORDS.split())
    for k, text in enumerate(texts):
        word, mass = text.lower(), float(by_word[k].sum())
        kind = "nouns" if k in nouns else "function words" if word in function_words else None
        for sums, key in ((seen, kind), (seen_words, word)):
            if key:
                total, count = sums.get(key, (0.0, 0))
                sums[key] = (total + mass, count + 1)
    of_heads = shares(heads)
    others = (maps.sum(axis=0) - maps) / max(1, words - 1)
    same = elsewhere(maps, others) < SAME if words > 1 else np.zeros(1, dtype=bool)
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


def health(pulses: Sequence[AttentionStats]) -> Health:
    """Put the captions of a run together; where photos have grids of their own, on their middle grid."""
    if not pulses:
        nan = float("nan")
        return Health(0, nan, nan, nan, nan, [], 0, nan, nan, {})
    counts = np.array([one.words for one in pulses], dtype=np.float64)
    words = counts.sum()
    grid = middle_grid([(one.mean.shape[0], one.mean.shape[1]) for one in pulses])
    means = np.stack([regrid(one.mean, grid) for one in pulses])
    run = np.average(means, axis=0, weights=counts)
    head_run = np.average([regrid(one.head_means, grid) for one in pulses], axis=0, weights=counts)
    energy = np.sum([_energy_on(grid, one) for one in pulses], axis=0) / words
    moving = 1 - _energy(head_run) / np.maximum(energy, 1e-300)
    masses = {
        kind: tuple(map(sum, zip(*(one.seen[kind] for one in pulses), strict=True)))
        for kind in ("nouns", "function words")
    }
    totals: Counter[str] = Counter()
    often: Counter[str] = Counter()
    for one in pulses:
        totals.update({word: total for word, (total, _) in one.seen_words.items()})
        often.update({word: count for word, (_, count) in one.seen_words.items()})
    return Health(
        captions=len(pulses),
        entropy=sum(one.entropy for one in pulses) / words,
        same_in_caption=sum(one.same for one in pulses) / words,
        same_in_run=float((elsewhere(means, run) < SAME_MEAN).mean()),
        centre=sum(one.centre for one in pulses) / words,
        still_heads=[(int(layer) + 1, int(head) + 1) for layer, head in np.argwhere(moving < STILL)],
        num_heads=moving.size,
        seen_nouns=_ratio(*masses["nouns"]),
        seen_function_words=_ratio(*masses["function words"]),
        seen_words={word: totals[word] / count for word, count in often.most_common() if count >= OFTEN},
    )


def shares(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Maps `[..., rows, cols]` that sum to 1; a map without mass becomes flat."""
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


def elsewhere(maps: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the mass of maps `[..., rows, cols]` that lies elsewhere in `others` (total variation): 0–1."""
    distance: NDArray[np.float64] = np.abs(maps - others).sum(axis=(-2, -1)) / 2
    return distance


def _energy(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the squared values of maps `[..., rows, cols]`: `[...]`."""
    energy: NDArray[np.float64] = (maps**2).sum(axis=(-2, -1))
    return energy


def _energy_on(grid: tuple[int, int], one: AttentionStats) -> NDArray[np.float64]:
    """The energy of a caption's heads on another grid: `[layers, heads]`.

    Its words' maps are not kept: their energy is taken to change as their mean's does, which is exact for a still head.
    """
    own = one.head_means.astype(np.float64)
    changes: NDArray[np.float64] = _energy(regrid(own, grid)) / np.maximum(_energy(own), 1e-300)
    return one.head_energy * changes


def _middle_quarter(rows: int, cols: int) -> NDArray[np.float64]:
    """How much of each cell lies in the middle half of the rows and of the columns: `[rows, cols]`, 0–1."""

    def along(count: int) -> NDArray[np.float64]:
        edges = np.arange(count + 1) / count
        inside: NDArray[np.float64] = np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25)
        return inside.clip(min=0.0) * count

    return np.outer(along(rows), along(cols))


def _ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")
