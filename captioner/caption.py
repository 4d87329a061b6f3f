"""Result types of captioning: `Caption`, `Word`, `Alternative` and `Explanation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError, did_you_mean
from captioner.image.geometry import ImageGeometry

Unit = Literal["attention", "nats", "relevance"]
"""Unit of a map's values: share of attention (0–1), nats of a token's log-probability, or relevance (no unit; values
compare within one caption only)."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another candidate for a token position or for the whole caption.

    Attributes:
        text: A token as shown, or a whole caption; "" for the end of the caption.
        logprob: Log-probability (nats) of the token in that position, or the search's score of the caption.
    """

    text: str
    logprob: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Maps of one explanation method, one per word.

    Attributes:
        values: float32 `[L, rows, cols]`; `L` counts the caption's words. May be negative unless the unit is
            "attention".
        unit: Unit of the values.
    """

    values: NDArray[np.float32]
    unit: Unit

    def non_negative(self) -> NDArray[np.float32]:
        """Maps without negative values, comparable across the words of the caption: what `Word.map` holds.

        Shares of attention are returned unchanged. Other maps are clipped at 0 and divided by the largest sum of any
        word's map, so that this word's map sums to 1 and a map without positive values is all 0.
        """
        if self.unit == "attention":
            return self.values
        positive = self.values.clip(min=0)
        largest = positive.sum(axis=(1, 2)).max(initial=0.0)
        return positive / largest if largest > 0 else positive


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One word of a caption with its log-probability and its map.

    Attributes:
        text: The word as shown.
        logprob: Sum of the log-probabilities (nats) of the word's tokens.
        visual_mass: Share of cross-attention on image patches, 0–1; the rest falls on prefix tokens (class, register
            or sentinel tokens). Mean over the word's tokens.
        map: float32 `[rows, cols]`, non-negative: the word's map by the first explanation method, as
            `Explanation.non_negative` returns it. By default the attention on each patch of the encoder grid, mean over
            layers and heads, which sums to `visual_mass`.
        alternatives: The most probable tokens at the position of the word's first token, the chosen one included where
            it is among them, most probable first.
    """

    text: str
    logprob: float
    visual_mass: float
    map: NDArray[np.float32]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Caption:
    """The caption chosen for one photo.

    Attributes:
        text: The caption as shown.
        words: One entry for each word of `text`, in order. Empty for an empty caption.
        score: The search's score (nats, after length normalisation).
        logprob: Sum of the log-probabilities (nats) of all tokens, the end token included.
        maps: float32 `[words, layers, heads, rows, cols]`: cross-attention of every layer and head.
        geometry: Maps the encoder's grid back to pixels of the given photo. All maps, those of `explanations` too, lie
            on the same rectangle.
        explanations: Explanations by the method's name as the user wrote it. Their grid may differ from that of `maps`.
        others: The other hypotheses of the search, best first, with their scores.
    """

    text: str
    words: tuple[Word, ...]
    score: float
    logprob: float
    maps: NDArray[np.float32]
    geometry: ImageGeometry
    explanations: Mapping[str, Explanation] = field(default_factory=dict)
    others: tuple[Alternative, ...] = ()

    def map(
        self, word_index: int, *, method: str | None = None, layer: int | None = None, head: int | None = None
    ) -> NDArray[np.float32]:
        """The map of one word, float32 `[rows, cols]`.

        Args:
            word_index: Index into `words`, from 0.
            method: As in `explanation`.
            layer: As in `explanation`.
            head: As in `explanation`.

        Returns:
            The word's own `map` where no method, layer or head is given; else its map of that `explanation`.

        Raises:
            UsageError: If there is no such word, or as in `explanation`.
        """
        if not self.words:
            raise UsageError(f"word_index={word_index!r} is out of range: empty caption")
        if not isinstance(word_index, int) or not 0 <= word_index < len(self.words):
            raise UsageError(
                f"word_index={word_index!r} must be a whole number from 0 to {len(self.words) - 1}"
            )
        if method is None and layer is None and head is None:
            return self.words[word_index].map
        one: NDArray[np.float32] = self.explanation(method, layer=layer, head=head).values[word_index]
        return one

    def explanation(
        self, method: str | None = None, *, layer: int | None = None, head: int | None = None
    ) -> Explanation:
        """The maps of all words by one method, or the attention of one layer or head.

        Args:
            method: A key of `explanations`, or "attention", which every caption has. None: the first of
                `explanations`, else attention; attention where a layer or head is given.
            layer: Decoder layer whose attention is taken, from 1; None averages over all layers.
            head: Attention head, from 1; None averages over all heads.

        Raises:
            UsageError: If there is no such method, layer or head, or a layer or head is given with a method other than
                attention.
        """
        if layer is not None or head is not None:
            if method not in (None, "attention"):
                raise UsageError(
                    f"method={method} takes no layer or head: leave out the method for the attention of one head, or "
                    "compute explain=attention:layerN.headM"
                )
            return Explanation(self._attention(layer, head), "attention")
        name = method or next(iter(self.explanations), "attention")
        if name in self.explanations:
            return self.explanations[name]
        if name != "attention":
            known = list(dict.fromkeys(["attention", *self.explanations]))
            raise UsageError(
                f"method={name} was not computed (available: {', '.join(known)}); compute it with explain={name}"
                f"{did_you_mean(name, known)}"
            )
        return Explanation(self._attention(None, None), "attention")

    def _attention(self, layer: int | None, head: int | None) -> NDArray[np.float32]:
        """`[words, rows, cols]`: mean of `maps` over the chosen layer and head, all where None."""
        maps = self.maps
        for axis, name, number in ((1, "layer", layer), (2, "head", head)):
            count = maps.shape[axis]
            if number is None:
                continue
            if not isinstance(number, int) or not 1 <= number <= count:
                raise UsageError(f"{name}={number!r} must be a whole number from 1 to {count}")
            maps = maps[:, number - 1 : number] if axis == 1 else maps[:, :, number - 1 : number]
        mean: NDArray[np.float32] = maps.mean(axis=(1, 2))
        return mean
