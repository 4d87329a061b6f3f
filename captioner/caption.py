"""What does captioning one photo give? `Caption` and `Word`, the result types every room shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError
from captioner.image.geometry import ImageGeometry


@dataclass(frozen=True, slots=True)
class Alternative:
    """What else could have stood in a place.

    Attributes:
        text: A token as shown, or a whole caption; "" for the end of the caption.
        logprob: Its log-probability in that place, or the score of the caption (nats).
    """

    text: str
    logprob: float


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One word of a caption and where the decoder looked when it wrote it.

    Attributes:
        text: The word as shown.
        logprob: Sum of the log-probabilities (nats) of the word's tokens.
        visual_mass: Share of cross-attention that fell on image patches, 0–1; the rest fell on prefix tokens
            (class, register or sentinel tokens). Mean over the word's tokens.
        map: float32 `[rows, cols]`, nowhere negative: what to show. By default the attention on each patch of the
            encoder grid, mean over layers and heads, which sums to `visual_mass`. Where methods were asked for, it is
            by the first of them: shares of attention as they are; of other methods the positive part, in units of the
            caption's word that has most of it, so that this word sums to 1 and one without evidence to 0.
        alternatives: The most probable tokens in the place of the word's first token, its own among them where it is
            one of these, most probable first.
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
        score: The score by which the search chose it (nats, after length normalisation).
        logprob: Sum of the log-probabilities (nats) of all tokens, the end token included.
        maps: float32 `[words, layers, heads, rows, cols]`: the attention of every layer and head, by which the
            decoder wrote the caption.
        geometry: Brings a map back to the pixels of the photo that was given. It knows where on the model input the
            cells of the encoder's grid look; all maps, those of `explanations` too, lie on that same rectangle.
        explanations: By the name of the method, as it was asked for: float32 `[words, rows, cols]`. A method's grid may
            differ from that of `maps`; its values may be negative where the method says so.
        others: The other captions that the search considered, best first, with their scores.
    """

    text: str
    words: tuple[Word, ...]
    score: float
    logprob: float
    maps: NDArray[np.float32]
    geometry: ImageGeometry
    explanations: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    others: tuple[Alternative, ...] = ()

    def map(
        self, word_index: int, *, method: str | None = None, layer: int | None = None, head: int | None = None
    ) -> NDArray[np.float32]:
        """One map of one word, float32 `[rows, cols]`.

        Args:
            word_index: Index into `words`, from 0.
            method: A key of `explanations`.
            layer: Attention of this decoder layer, counted from 1; the mean over its heads unless `head` is given.
            head: Attention of this head, counted from 1; the mean over all layers unless `layer` is given.

        Returns:
            The word's `map` where nothing is chosen.

        Raises:
            UsageError: If there is no such word, method, layer or head, or a method is named together with a layer or
                head.
        """
        if not self.words:
            raise UsageError(f"word_index={word_index!r} cannot be had: the caption has no words")
        if not isinstance(word_index, int) or not 0 <= word_index < len(self.words):
            raise UsageError(
                f"word_index={word_index!r} must be a whole number from 0 to {len(self.words) - 1}"
            )
        if method is not None:
            if layer is not None or head is not None:
                raise UsageError(
                    f"method={method} takes no layer or head; leave out the method for one head's attention, or "
                    "explain the caption by attention:layerN.headM"
                )
            if method not in self.explanations:
                known = ", ".join(self.explanations) or "none"
                raise UsageError(
                    f"method={method} was not computed ({known}); ask for it by explain={method}"
                )
            explained: NDArray[np.float32] = self.explanations[method][word_index]
            return explained
        if layer is None and head is None:
            return self.words[word_index].map
        maps: NDArray[np.float32] = self.maps[word_index]  # [layers, heads, rows, cols]
        for name, chosen, there in (("layer", layer, maps.shape[0]), ("head", head, maps.shape[1])):
            if chosen is not None and (not isinstance(chosen, int) or not 1 <= chosen <= there):
                raise UsageError(f"{name}={chosen!r} must be a whole number from 1 to {there}")
        of_layers = maps.mean(axis=0) if layer is None else maps[layer - 1]
        found: NDArray[np.float32] = of_layers.mean(axis=0) if head is None else of_layers[head - 1]
        return found
