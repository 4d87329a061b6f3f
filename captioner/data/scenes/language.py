"""Generation of captions of a scene in varied phrasings, each naming every object."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from captioner.data.scenes.relations import PLACES, RELATIONS, place_holds, relation_holds
from captioner.data.scenes.words import COUNTS, Mention, article, plural
from captioner.data.scenes.world import Scene

_NUMBER_WORDS = {number: word for word, number in COUNTS.items()}


@dataclass(frozen=True, slots=True)
class Reference:
    """One caption of a scene, with the objects that its nouns name.

    Attributes:
        text: Lower-case words separated by single spaces, without punctuation.
        mentions: One for each noun, in order; together they name every object once.
    """

    text: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True, slots=True)
class _Phrase:
    """The objects named by one noun phrase, whose words match these objects and no others of the scene."""

    words: tuple[str, ...]
    objects: tuple[int, ...]


_Parts = list["str | _Phrase"]


def describe(scene: Scene, rng: np.random.Generator, *, count: int = 5) -> tuple[Reference, ...]:
    """Generate different captions of a scene.

    Args:
        scene: The scene.
        rng: Chooses the phrasings.
        count: The number of captions, at most 5: every scene has at least 5 phrasings.

    Returns:
        `count` different captions, all true and complete.
    """
    references: dict[str, Reference] = {}
    while len(references) < count:
        reference = _join(_caption(scene, rng))
        references.setdefault(reference.text, reference)
    return tuple(references.values())


def _salience(scene: Scene, phrase: _Phrase) -> tuple[int, int, float]:
    """Sort key of phrases: groups first, then large objects, then from left to right, as people tend to write."""
    things = [scene.objects[k] for k in phrase.objects]
    return -len(things), -sum(thing.size == "large" for thing in things), things[0].centre[1]


def _caption(scene: Scene, rng: np.random.Generator) -> _Parts:
    """One caption: noun phrases and the words between them."""
    phrases = _phrases(scene, rng)
    rng.shuffle(phrases)
    if rng.random() < 0.8:
        phrases.sort(key=lambda phrase: _salience(scene, phrase))
    if len(phrases[0].objects) == 1 and rng.random() < 0.15:
        phrases[0] = _Phrase(("one", *phrases[0].words[1:]), phrases[0].objects)
    if len(phrases) == 1:
        return _about_one(scene, phrases[0], rng)
    first, second, *rest = phrases
    near = _relation(scene, first, second, rng)
    if near is not None and rng.random() < 0.45:
        if not rest:
            verb = ("", "", _be(first))[rng.integers(3)]
            return [_opening(first, rng) if not verb else "", first, verb, near, second]
        far = _relation(scene, first, rest[0], rng)
        if far is not None and rng.random() < 0.5:
            return [first, _be(first), near, second, "and", far, rest[0]]
        return [first, _be(first), near, second, "and there", _be(rest[0]), rest[0]]
    if rng.random() < 0.3:
        places = [_place(scene, phrase, rng) for phrase in phrases]
        if all(places) and not rest:
            return [_opening(first, rng), first, places[0] or "", "and", second, places[1] or ""]
    listed: _Parts = [_opening(first, rng), first]
    for phrase in phrases[1:]:
        listed += ["and", phrase]
    return listed


def _about_one(scene: Scene, phrase: _Phrase, rng: np.random.Generator) -> _Parts:
    place = _place(scene, phrase, rng)
    if place is None or rng.random() < 0.5:
        return [_opening(phrase, rng), phrase]
    if rng.random() < 0.4:
        return [phrase, _be(phrase), place]
    return [_opening(phrase, rng), phrase, place]


def _phrases(scene: Scene, rng: np.random.Generator) -> list[_Phrase]:
    """Noun phrases that partition the objects: one for each kind, or one for each size of a kind."""
    kinds: dict[tuple[str, str], dict[str, list[int]]] = {}
    for index, thing in enumerate(scene.objects):
        kinds.setdefault((thing.shape, thing.colour), {}).setdefault(thing.size, []).append(index)
    phrases = []
    for (shape, colour), sizes in kinds.items():
        if len(sizes) == 1:
            ((size, objects),) = sizes.items()
            phrases.append(_phrase(objects, size if rng.random() < 0.5 else "", colour, shape))
        elif rng.random() < 0.5:
            phrases.append(_phrase(sorted(chain(*sizes.values())), "", colour, shape))
        else:
            phrases += [_phrase(objects, size, colour, shape) for size, objects in sizes.items()]
    return phrases


def _phrase(objects: list[int], size: str, colour: str, shape: str) -> _Phrase:
    number = len(objects)
    adjectives = (size, colour) if size else (colour,)
    counted = article(adjectives[0]) if number == 1 else _NUMBER_WORDS[number]
    return _Phrase((counted, *adjectives, shape if number == 1 else plural(shape)), tuple(objects))


def _be(phrase: _Phrase) -> str:
    return "is" if len(phrase.objects) == 1 else "are"


def _opening(first: _Phrase, rng: np.random.Generator) -> str:
    return ("", "", "", "there " + _be(first), "a picture of")[rng.integers(5)]


def _relation(scene: Scene, one: _Phrase, other: _Phrase, rng: np.random.Generator) -> str | None:
    """Words for a relation that clearly holds between all objects of one phrase and all of the other."""
    boxes = scene.boxes
    pairs = [(boxes[a], boxes[b]) for a in one.objects for b in other.objects]
    clear = [
        words for words in RELATIONS if all(relation_holds(words, *pair, clearly=True) for pair in pairs)
    ]
    return clear[rng.integers(len(clear))] if clear else None


def _place(scene: Scene, phrase: _Phrase, rng: np.random.Generator) -> str | None:
    """Words for a place where clearly all objects of the phrase lie."""
    boxes, size = [scene.boxes[index] for index in phrase.objects], scene.image_size
    clear = [words for words in PLACES if all(place_holds(words, box, size, clearly=True) for box in boxes)]
    return clear[rng.integers(len(clear))] if clear else None


def _join(parts: _Parts) -> Reference:
    words: list[str] = []
    mentions = []
    for part in parts:
        if isinstance(part, str):
            words += part.split()
        else:
            words += part.words
            mentions.append(Mention(len(words) - 1, words[-1], part.objects))
    return Reference(" ".join(words), tuple(mentions))
