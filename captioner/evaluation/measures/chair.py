"""CHAIR-i and CHAIR-s: rates of objects named in captions that are not in the photo.

Source: Rohrbach et al. 2018, "Object hallucination in image captioning". An object is in a photo if it is annotated
there or a reference caption names it; a stricter count takes annotations alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The objects of known categories that one caption names.

    Attributes:
        names: For each noun, the categories that it may name: "bike" has two. Nouns that name the same object count
            separately, as in the paper's script.
        marked: Categories annotated in the photo.
        in_references: Categories that the reference captions name.
    """

    names: tuple[tuple[str, ...], ...]
    marked: frozenset[str]
    in_references: frozenset[str]


@dataclass(frozen=True, slots=True)
class Chair:
    """Hallucination rates.

    Attributes:
        chair_i: Objects named that are not in the photo, as a share of all objects named.
        chair_s: Captions that name such an object, as a share of all captions.
        named: Objects named.
        captions: Captions.
    """

    chair_i: float
    chair_s: float
    named: int
    captions: int


def chair(captions: Sequence[NamedObjects], *, with_references: bool = True) -> Chair:
    """CHAIR-i and CHAIR-s of captions.

    Args:
        captions: Of every annotated photo, including captions without nouns.
        with_references: True, as in the paper: categories of the reference captions count as present. False: only
            annotated ones.
    """
    hallucinated = [
        sum(
            set(names).isdisjoint(one.marked | (one.in_references if with_references else frozenset()))
            for names in one.names
        )
        for one in captions
    ]
    named = sum(len(one.names) for one in captions)
    return Chair(
        chair_i=sum(hallucinated) / named if named else 0.0,
        chair_s=sum(count > 0 for count in hallucinated) / len(captions) if captions else 0.0,
        named=named,
        captions=len(captions),
    )
