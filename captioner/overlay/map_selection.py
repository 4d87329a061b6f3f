"""Selection of the maps that an overlay draws, with their title."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption, Unit
from captioner.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class MapSelection:
    """One map per word, ready to be drawn.

    Attributes:
        maps: float32 `[words, rows, cols]`.
        title: What they are, for example "attention, layer 2, head 3".
        unit: Unit of the values.
    """

    maps: NDArray[np.float32]
    title: str
    unit: Unit

    @property
    def signed(self) -> bool:
        """Whether any value is negative: then positive and negative values have colours of their own."""
        return bool(self.maps.size) and float(self.maps.min()) < 0

    def of(self, index: int) -> NDArray[np.float32]:
        """The map `[rows, cols]` of one word.

        Raises:
            UsageError: If there is no such word.
        """
        if not 0 <= index < len(self.maps):
            words = f"words 0 to {len(self.maps) - 1}" if len(self.maps) else "no words"
            raise UsageError(f"there is no word {index}: the caption has {words}")
        one: NDArray[np.float32] = self.maps[index]
        return one


def select_maps(
    caption: Caption, method: str | None = None, *, layer: int | None = None, head: int | None = None
) -> MapSelection:
    """Choose the maps to draw of a caption.

    Arguments are those of `Caption.explanation`.

    Raises:
        UsageError: If the caption has no maps of that method, layer or head.
    """
    chosen = caption.explanation(method, layer=layer, head=head)
    if layer is None and head is None:
        return MapSelection(
            chosen.values, title_of(method or next(iter(caption.explanations), "attention")), chosen.unit
        )
    parts = [f"{name} {number}" for name, number in (("layer", layer), ("head", head)) if number is not None]
    return MapSelection(chosen.values, ", ".join(["attention", *parts]), chosen.unit)


def title_of(method: str) -> str:
    """A method's name in words, for example "attention, layer 2, head 5" for "attention:layer2.head5"."""
    name, _, choice = method.partition(":")
    choice = re.sub(r"(layer|head)(\d+)", r"\1 \2", choice).replace(".", ", ")
    return name.replace("_", " ") + (f", {choice}" if choice else "")
