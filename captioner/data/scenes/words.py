"""Nouns, numbers and articles, shared by the generation and the parser of captions."""

from __future__ import annotations

from dataclasses import dataclass

from captioner.data.scenes.shapes import SHAPES

COUNTS: dict[str, int] = {"one": 1, "two": 2, "three": 3}
PLURALS: dict[str, str] = {("crosses" if shape == "cross" else shape + "s"): shape for shape in SHAPES}
OPENINGS: tuple[str, ...] = ("there is", "there are", "a picture of")


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun of a caption and the objects it names.

    Attributes:
        word_index: Index of the noun in `caption.split()`.
        noun: The noun as written, singular or plural.
        objects: Indices of the objects in the scene, ascending. Empty if there is no such object.
    """

    word_index: int
    noun: str
    objects: tuple[int, ...]


def article(following: str) -> str:
    """The indefinite article before a word: "an" before a vowel, else "a"."""
    return "an" if following[0] in "aeiou" else "a"


def plural(shape: str) -> str:
    """The plural of a shape's name."""
    return next(word for word, singular in PLURALS.items() if singular == shape)
