"""Nouns of a caption that name objects of COCO's categories.

The longest name wins, so that "hot dog" is no dog and "train tracks" are no train. Of two adjacent names the first is
taken to qualify the second ("bus driver", "pizza oven"), but a plural after a person is taken for a verb ("a man
skateboards"). The rules need no parser; their errors affect every method and model alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from captioner.data.annotations.coco_words import COCO_NAMES, EITHER, NO_OBJECT

_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "knife": "knives",
    "calf": "calves",
    "mouse": "mice",
    "goose": "geese",
    "ox": "oxen",
    **{
        same: same
        for same in ("sheep", "cattle", "bison", "luggage", "baggage", "livestock", "skis", "shears")
    },
    **{same: same for same in ("scissors", "aircraft", "someone", "somebody", "broccoli")},
    "human": "humans",
}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_QUALIFIERS = _set("baby adult male female passenger child infant mother father teenage parent kid toy")
_COLOURS = _set("red white blue black yellow green brown pink purple grey gray orange silver tan gold")
# After the colour orange a noun follows; after the fruit one of these, or nothing.
_AFTER_FRUIT = _set(
    "and or on in with of is are at to that which sitting next near beside by from being cut for under while"
)
_BEFORE_COLOUR = _set("in wearing bright light dark neon wears")
_CROWDS = _set("couple crowd family team audience pitcher")  # "a couple of dogs" are dogs


@dataclass(frozen=True, slots=True)
class Noun:
    """The name of an object in a caption.

    Attributes:
        start: Index of its first word.
        end: Index after its last word; names such as "traffic light" have two.
        text: The name, in lower case.
        categories: The category it names, or several where the word is ambiguous.
    """

    start: int
    end: int
    text: str
    categories: tuple[str, ...]


def coco_nouns(words: Sequence[str]) -> list[Noun]:
    """The names of COCO categories in a caption.

    Args:
        words: The caption's words; case, punctuation at their ends and a possessive 's are ignored.

    Returns:
        The names in order, without phrases that contain a name but no such object ("bus stop").
    """
    return [noun for noun in _resolve(_matches(words), words) if noun.categories]


def normalize_word(word: str) -> str:
    """A word in the form that names are compared in: lower case, without punctuation at its ends or a possessive."""
    plain = word.lower().replace("’", "'").strip("\"'`.,;:!?()[]*_")
    return plain.removesuffix("'s")


def plural(name: str) -> str:
    """The plural of an English name, by the usual rules; of several words the last is inflected."""
    before, blank, last = name.rpartition(" ")
    return before + blank + _plural_word(last)


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending in ("man", "child"):  # policeman, grandchild
        if word.endswith(ending):
            return word.removesuffix(ending) + _IRREGULAR[ending]
    if word.endswith(("s", "x", "ch", "sh", "z")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


@cache
def _names() -> dict[tuple[str, ...], tuple[str, ...]]:
    """Categories by the words of a name, singular and plural; empty for phrases that only resemble a name."""
    singular: dict[str, tuple[str, ...]] = dict(EITHER)
    for phrase in _split(NO_OBJECT):
        singular[phrase] = ()
    for category, names in COCO_NAMES.items():
        for name in _split(names):
            singular.setdefault(name, (category,))
    both = dict(singular)
    for name, categories in singular.items():
        both.setdefault(plural(name), categories)
    both["persons"], both["busses"] = ("person",), ("bus",)
    return {tuple(name.split()): categories for name, categories in both.items()}


def _split(names: str) -> Iterable[str]:
    return (" ".join(name.split()) for name in names.split(",") if name.strip())


def _matches(words: Sequence[str]) -> list[Noun]:
    """All names and phrases that resemble one, longest first from the left, without overlap."""
    # Parts of a hyphenated word are matched separately but remain one word of the caption.
    tokens = [(part, at) for at, word in enumerate(words) for part in normalize_word(word).split("-")]
    names = _names()
    longest = max(map(len, names))
    matches, i = [], 0
    while i < len(tokens):
        for length in range(min(longest, len(tokens) - i), 0, -1):
            key = tuple(token for token, _ in tokens[i : i + length])
            if key in names:
                matches.append(Noun(tokens[i][1], tokens[i + length - 1][1] + 1, " ".join(key), names[key]))
                i += length
                break
        else:
            i += 1
    return matches


def _resolve(nouns: list[Noun], words: Sequence[str]) -> list[Noun]:
    """Leave out verbs, qualifiers and colours that are spelled like names."""
    normalized = [normalize_word(word) for word in words]
    nouns = [noun for noun in nouns if not (noun.text == "orange" and _is_colour(noun, normalized))]
    nouns = [
        noun for noun in nouns if not (noun.text in _CROWDS and normalized[noun.end : noun.end + 1] == ["of"])
    ]
    dropped: set[Noun] = set()
    for first, second in pairwise(nouns):
        if first.end != second.start or first in dropped or not first.categories:
            continue
        if words[first.end - 1].lower().replace("’", "'").endswith("'s"):
            continue  # "the dog's ball" has both
        if first.categories == ("person",) and first.text not in _QUALIFIERS:
            if _is_plural(second.text) and second.categories and second.categories != ("person",):
                dropped.add(second)  # "a man bikes", "two boys skateboards"
        elif not _is_plural(first.text) and second.categories:
            dropped.add(first)
    return [noun for noun in nouns if noun not in dropped]


@cache
def _plurals() -> frozenset[str]:
    return frozenset(plural(" ".join(name)) for name in _names())


def _is_plural(name: str) -> bool:
    return name in _plurals()


def _is_colour(noun: Noun, normalized: Sequence[str]) -> bool:
    """Whether "orange" is a colour here: before a noun, beside another colour, or worn."""
    before = normalized[noun.start - 1] if noun.start else ""
    after = normalized[noun.end : noun.end + 2]
    if before in _BEFORE_COLOUR or before in _COLOURS:
        return True
    if len(after) == 2 and after[0] in ("and", "or") and after[1] in _COLOURS:
        return True
    if before in ("and", "or") and noun.start > 1 and normalized[noun.start - 2] in _COLOURS:
        return True
    return bool(after) and after[0] not in _AFTER_FRUIT
