"""Truth of a caption: every claim is compared with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from captioner.data.scenes.grammar import Claims, GrammarError, NounPhrase, extract_noun_phrases, parse
from captioner.data.scenes.relations import place_holds, relation_holds
from captioner.data.scenes.words import Mention
from captioner.data.scenes.world import Scene

_Assignment = tuple[tuple[int, ...], ...]  # for each phrase, the objects it names


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of comparing a caption with its scene.

    Attributes:
        true: The caption parses completely, and all its claims hold at once.
        complete: Every object of the scene is named.
        reason: Why it is not true, in a few words; empty if it is true.
        mentions: One for each noun. If the caption is not true, as many as possible are assigned to objects.
    """

    true: bool
    complete: bool
    reason: str
    mentions: tuple[Mention, ...]


def check(caption: str, scene: Scene) -> Verdict:
    """Compare a caption, written by a model or a person, with the scene.

    It is true if it parses completely (`grammar`) and objects can be assigned to its phrases so that each object has
    the shape, colour and size of its phrase; no object is named twice; "two red circles" (and "one red circle") matches
    exactly that number in the picture, "a red circle" at least one; and every relation and place holds for every object
    of its phrases (`relations`).

    Args:
        caption: Words separated by white space, in lower case, without punctuation.
        scene: The scene of the picture.

    Returns:
        The verdict.
    """
    try:
        claims = parse(caption)
        syntax = ""
    except GrammarError as error:
        claims = Claims(phrases=extract_noun_phrases(caption))
        syntax = f"cannot be read: {error}"
    best = max(_assignments(claims, scene), key=lambda chosen: _score(chosen, claims, scene))
    mentions = tuple(
        Mention(phrase.word_index, phrase.noun, objects)
        for phrase, objects in zip(claims.phrases, best, strict=True)
    )
    reason = syntax or _untrue(best, claims, scene)
    complete = {index for objects in best for index in objects} == set(range(len(scene.objects)))
    return Verdict(not reason, complete, reason, mentions)


def _matching(phrase: NounPhrase, scene: Scene) -> tuple[int, ...]:
    """The objects that match a phrase."""
    return tuple(
        index
        for index, thing in enumerate(scene.objects)
        if thing.shape == phrase.shape
        and phrase.colour in (None, thing.colour)
        and phrase.size in (None, thing.size)
    )


def _assignments(claims: Claims, scene: Scene) -> Iterator[_Assignment]:
    """Every assignment of matching objects, or none, to each phrase, with no object assigned twice."""
    options: list[list[tuple[int, ...]]] = []
    for phrase in claims.phrases:
        matching = _matching(phrase, scene)
        options.append(
            [(), matching] if phrase.exact and matching else [(), *((index,) for index in matching)]
        )
    chosen: list[tuple[int, ...]] = []

    def extend(taken: frozenset[int]) -> Iterator[_Assignment]:
        if len(chosen) == len(options):
            yield tuple(chosen)
            return
        for objects in options[len(chosen)]:
            if taken.isdisjoint(objects):
                chosen.append(objects)
                yield from extend(taken.union(objects))
                chosen.pop()

    return extend(frozenset())


def _pairs_hold(words: str, ones: tuple[int, ...], others: tuple[int, ...], scene: Scene) -> bool:
    boxes = scene.boxes
    return all(relation_holds(words, boxes[a], boxes[b]) for a, b in product(ones, others))


def _places_hold(words: str, objects: tuple[int, ...], scene: Scene) -> bool:
    return all(place_holds(words, scene.boxes[index], scene.image_size) for index in objects)


def _score(chosen: _Assignment, claims: Claims, scene: Scene) -> tuple[int, int, int]:
    """Sort key of assignments: phrases with objects, claims that hold, named objects."""
    related = sum(_pairs_hold(words, chosen[a], chosen[b], scene) for words, a, b in claims.relations)
    placed = sum(_places_hold(words, chosen[a], scene) for words, a in claims.places)
    return sum(map(bool, chosen)), related + placed, sum(map(len, chosen))


def _untrue(chosen: _Assignment, claims: Claims, scene: Scene) -> str:
    """Why the caption is not true under the best assignment; empty if it is."""
    for phrase, objects in zip(claims.phrases, chosen, strict=True):
        found = len(_matching(phrase, scene))
        if not found:
            return f"there is no {phrase.text}"
        if phrase.exact and found != phrase.number:
            return f"{phrase.number} {phrase.text} claimed, {found} there"
        if not objects:
            return f"nothing is left to be called {phrase.text}"
    for words, one, other in claims.relations:
        if not _pairs_hold(words, chosen[one], chosen[other], scene):
            return f"{claims.phrases[one].text} not {words} {claims.phrases[other].text}"
    for words, one in claims.places:
        if not _places_hold(words, chosen[one], scene):
            return f"{claims.phrases[one].text} not {words}"
    return ""
