"""Which of a caption's maps are shown, and what do their numbers mean?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.errors import UsageError

Unit = Literal["attention", "nats", "relevance"]
"""What a cell's number counts: a share of the word's attention; nats of its log-probability; relevance without a unit,
comparable within a caption only."""

_ATTENTION = ("attention", "rollout")  # methods that share out attention; their variants begin with the name
_NATS = (
    "occlusion",
    "integrated_gradients",
)  # methods that say how much of a log-probability comes from a cell


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One map for each word, ready to be drawn.

    Attributes:
        maps: float32 `[words, rows, cols]`.
        title: What they are, in words, for example "attention, layer 2, head 3".
        unit: What their numbers count.
    """

    maps: NDArray[np.float32]
    title: str
    unit: Unit

    @property
    def signed(self) -> bool:
        """Whether some cell speaks against its word: then colours tell negative from positive."""
        return bool(self.maps.size) and float(self.maps.min()) < 0

    def of(self, index: int) -> NDArray[np.float32]:
        """The map `[rows, cols]` of one word.

        Raises:
            UsageError: There is no such word.
        """
        if not 0 <= index < len(self.maps):
            words = f"words 0 to {len(self.maps) - 1}" if len(self.maps) else "no words"
            raise UsageError(f"there is no word {index}: the caption has {words}")
        one: NDArray[np.float32] = self.maps[index]
        return one


def show(
    caption: Caption, method: str | None = None, *, layer: int | None = None, head: int | None = None
) -> Shown:
    """Choose what is drawn of a caption.

    Args:
        caption: The caption.
        method: One of `caption.explanations`, or "attention", which every caption has. None: the first of
            `caption.explanations`, else attention; attention where a layer or head is chosen.
        layer: Of attention: a decoder layer, counted from 1. None: the mean over all.
        head: Of attention: a head, counted from 1. None: the mean over all.

    Raises:
        UsageError: The caption has no map of that method, layer or head.
    """
    if layer is not None or head is not None:
        if method not in (None, "attention"):
            raise UsageError(f"the maps of {method} have no layers and heads; only those of attention do")
        return _of_heads(caption, layer, head)
    name = method or next(iter(caption.explanations), "attention")
    if name in caption.explanations:
        return Shown(caption.explanations[name], title_of(name), unit_of(name))
    if name != "attention":
        known = ", ".join(dict.fromkeys(["attention", *caption.explanations]))
        raise UsageError(f"there is no map by {name}: this caption has {known}; ask for others by explain=")
    if caption.explanations:  # then a word's own map is by another method
        return Shown(caption.maps.mean(axis=(1, 2)), name, "attention")
    own = [word.map for word in caption.words]
    empty = np.zeros((0, *caption.maps.shape[-2:]), np.float32)
    return Shown(np.stack(own) if own else empty, name, "attention")


def _of_heads(caption: Caption, layer: int | None, head: int | None) -> Shown:
    """The attention of one layer, one head, or one head of one layer."""
    maps, title = caption.maps, "attention"
    layers, heads = maps.shape[1:3]
    for axis, what, chosen, there in ((1, "layer", layer, layers), (2, "head", head, heads)):
        if chosen is None:
            continue
        if not 1 <= chosen <= there:
            raise UsageError(
                f"there is no {what} {chosen}: the decoder has {layers} layers of {heads} heads, counted from 1"
            )
        maps = np.take(maps, [chosen - 1], axis=axis)
        title += f", {what} {chosen}"
    return Shown(maps.mean(axis=(1, 2)), title, "attention")


def title_of(method: str) -> str:
    """The name of a method in words, for example "attention, layer 2, head 5" for "attention:layer2.head5"."""
    name, _, choice = method.partition(":")
    choice = re.sub(r"(layer|head)(\d+)", r"\1 \2", choice).replace(".", ", ")
    return name.replace("_", " ") + (f", {choice}" if choice else "")


def unit_of(method: str) -> Unit:
    """What the numbers of a method count; "relevance" for one that is not known here."""
    if method.startswith(_ATTENTION):
        return "attention"
    return "nats" if method.startswith(_NATS) else "relevance"
