"""How often does a caption name a thing that is not in the photo? CHAIR-i and CHAIR-s.

Source: Rohrbach et al. 2018, "Object hallucination in image captioning". An object is in a photo where it is marked
there or a reference caption names it; the stricter count, by marks alone, is given beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The objects of known categories that one caption names.

    Attributes:
        names: For each, the categories that the word may name: "bike" has two. Words that name the same object twice
            count twice, as in the paper's own script.
        marked: Categories marked in the photo.
        told: Categories that the reference captions name.
    """

    names: tuple[tuple[str, ...], ...]
    marked: frozenset[str]
    told: frozenset[str]


@dataclass(frozen=True, slots=True)
class Chair:
    """How much is made up.

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
        captions: Of every photo that was annotated, those that name nothing among them.
        with_references: As the paper: what a reference caption names counts as being there. False: only what is marked.
    """
    made_up = [
        sum(
            set(names).isdisjoint(one.marked | (one.told if with_references else frozenset()))
            for names in one.names
        )
        for one in captions
    ]
    named = sum(len(one.names) for one in captions)
    return Chair(
        chair_i=sum(made_up) / named if named else 0.0,
        chair_s=sum(count > 0 for count in made_up) / len(captions) if captions else 0.0,
        named=named,
        captions=len(captions),
    )
