"""What does captioning one photo give? `Caption` and `Word`, the result types every room shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
        map: float32 `[rows, cols]`, attention on each patch of the encoder grid; sums to `visual_mass`.
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
        maps: float32 `[words, layers, heads, rows, cols]`: every map from which `Word.map` was reduced.
        geometry: Brings a map back to the pixels of the photo that was given. It knows where on the model input the
            cells of the encoder's grid look; all maps, those of `explanations` too, lie on that same rectangle.
        explanations: By the name of the method: float32 `[words, rows, cols]`. A method's grid may differ from that of
            `maps`; its values may be negative where the method says so.
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
