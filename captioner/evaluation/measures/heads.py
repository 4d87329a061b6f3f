"""Pointing accuracy of every attention head; the best head is chosen on half of the photos and scored on the other."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.evaluation.measures.grounding import SMALL, Mention
from captioner.evaluation.measures.intervals import Bootstrap, Estimate
from captioner.evaluation.measures.target import fit


@dataclass(frozen=True, slots=True)
class HeadTable:
    """Pointing (peak in the box) of every layer and head. All figures are shares.

    Attributes:
        words: Number of words scored.
        small: Number of words whose objects cover less than a quarter of the photo.
        heads: `[layers][heads]`: over all words.
        heads_small: `[layers][heads]`: over the words of `small`.
        layers: `[layers]`: of the mean over a layer's heads, over all words.
        layers_small: `[layers]`: over the words of `small`.
        mean: Of the mean over all layers and heads.
        mean_small: Over the words of `small`.
        best: Layer and head, counted from 1, with the best score on all words: the one to use on other photos.
        chosen: Score of the head chosen on the other half of the photos, over both halves: an unbiased estimate for
            `best`.
        chosen_small: The same over the words of `small`.
    """

    words: int
    small: int
    heads: list[list[float]]
    heads_small: list[list[float]]
    layers: list[float]
    layers_small: list[float]
    mean: Estimate
    mean_small: Estimate
    best: tuple[int, int]
    chosen: Estimate
    chosen_small: Estimate


def judge_heads(mentions: Sequence[Mention]) -> HeadTable | None:
    """Pointing game of every head; None if no word names an object in its photo."""
    named = [mention for mention in mentions if mention.present]
    if not named:
        return None
    hits = np.stack([_hits(mention.heads, mention) for mention in named])  # [words, layers, heads]
    by_layer = np.stack([_hits(mention.heads.mean(axis=1), mention) for mention in named])
    by_all = np.stack([_hits(mention.heads.mean(axis=(0, 1)), mention) for mention in named])
    small = np.array([mention.size < SMALL for mention in named])
    every = np.ones(len(named), dtype=bool)
    half = np.array([zlib.crc32(mention.image.encode()) % 2 == 0 for mention in named])
    chosen = np.empty(len(named))
    for one in (half, ~half):
        layer, head = _best(hits[~one] if (~one).any() else hits)
        chosen[one] = hits[one, layer, head]
    means = Bootstrap([mention.image for mention in named]).means
    figures = np.stack([by_all, chosen], axis=1)
    layer, head = _best(hits)
    return HeadTable(
        words=len(named),
        small=int(small.sum()),
        heads=_shares(hits, every),
        heads_small=_shares(hits, small),
        layers=_shares(by_layer, every),
        layers_small=_shares(by_layer, small),
        mean=means(figures, every)[0],
        mean_small=means(figures, small)[0],
        best=(layer + 1, head + 1),
        chosen=means(figures, every)[1],
        chosen_small=means(figures, small)[1],
    )


def _hits(maps: NDArray[np.float32], mention: Mention) -> NDArray[np.float64]:
    """Whether the peaks of maps `[..., rows, cols]` lie in a box: `[...]`."""
    return fit(maps, mention.targets[maps.shape[-2], maps.shape[-1]][1]).pointing


def _shares(hits: NDArray[np.float64], words: NDArray[np.bool_]) -> Any:
    """The mean over words as nested lists."""
    return (hits[words].mean(axis=0) if words.any() else np.full(hits.shape[1:], np.nan)).tolist()


def _best(hits: NDArray[np.float64]) -> tuple[int, int]:
    layer, head = np.unravel_index(int(hits.mean(axis=0).argmax()), hits.shape[1:])
    return int(layer), int(head)
