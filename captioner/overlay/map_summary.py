"""Description of a map in words and figures, for screen readers and for exact reading."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.image.geometry import ImageGeometry
from captioner.overlay.map_selection import MapSelection
from captioner.overlay.numbers import amount, percent

NINTHS = (
    "upper left", "top", "upper right", "left", "centre", "right", "lower left", "bottom", "lower right",
)  # fmt: skip
"""Names of the nine parts of a photo, row by row."""

_FLAT = 1.5  # a map is spread over the photo if no ninth has more than this many times its even share


def ninths(map_: NDArray[np.float32], geometry: ImageGeometry) -> NDArray[np.float64]:
    """Share of a map's positive values in each ninth of the photo: float64 `[9]`.

    Sums to 1; all zero if no positive value lies on the photo.
    """
    positive = np.maximum(map_, 0)
    parts = geometry.to_original(positive, size=(3, 3), resample="mass").astype(np.float64).ravel()
    total = float(parts.sum())
    return parts / total if total > 0 else parts


def where(map_: NDArray[np.float32], geometry: ImageGeometry) -> str:
    """Where on the photo a map is largest, for example "strongest at the upper left (43% of it)"."""
    parts = ninths(map_, geometry)
    most = int(parts.argmax())
    if parts[most] == 0:
        return "nowhere on the photo"
    if parts[most] < _FLAT / 9:
        return f"spread over the photo, most at the {NINTHS[most]} ({percent(parts[most])} of it)"
    return f"strongest at the {NINTHS[most]} ({percent(parts[most])} of it)"


def entropy(map_: NDArray[np.float32]) -> float:
    """Entropy of a map's positive values in bits: 0 on a single cell, log2(cells) if even.

    0 for a map without positive values.
    """
    positive = np.maximum(map_.astype(np.float64), 0).ravel()
    total = positive.sum()
    if total <= 0:
        return 0.0
    shares = positive[positive > 0] / total
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def summary(caption: Caption, index: int, selection: MapSelection) -> str:
    """Description of a word's map in one sentence.

    For example "dog, probability 82%: attention strongest at the left (43% of it); most on one cell 6.7%".

    Raises:
        UsageError: If there is no such word.
    """
    map_ = selection.of(index)
    word = caption.words[index]
    return (
        f"{word.text}, probability {percent(math.exp(word.logprob))}: {selection.title} "
        f"{where(map_, caption.geometry)}; most on one cell {amount(float(map_.max()), selection.unit)}"
    )
