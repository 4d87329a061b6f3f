from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes import Mention, Scene, SceneObject, check
from captioner.data.scenes.language import describe
from captioner.data.scenes.relations import RELATIONS
from captioner.data.scenes.shapes import SHAPES
from captioner.data.scenes.words import PLURALS
from captioner.data.scenes.world import COLOURS, SPLITS, sample_scene


def thing(description: str, row: int, column: int) -> SceneObject:
    size, colour, shape = description.split()
    half = 8 if size == "small" else 15
    box = (row - half, column - half, row + half, column + half)
    return SceneObject(shape, colour, size, box, (row, column), half, 0.0)


def scene_of(*objects: SceneObject) -> Scene:
    return Scene(objects, 96, (0,))


THREE = scene_of(
    thing("small red circle", 20, 24), thing("small blue square", 24, 70), thing("large blue square", 70, 72)
)
ALIKE = scene_of(
    thing("large red star", 20, 20), thing("large red star", 48, 70), thing("small red star", 75, 20)
)
MIXED = scene_of(thing("small orange heart", 48, 48), thing("small white heart", 20, 48))


@pytest.mark.parametrize(
    ("caption", "scene", "complete"),
    [
        ("a red circle and two blue squares", THREE, True),
        ("there is a circle and a small square and a large square", THREE, True),
        ("there are two squares and a circle", THREE, True),
        ("a picture of a blue square and a blue square and a red circle", THREE, True),
        ("there is a large blue square below a small blue square", THREE, False),
        ("a blue square below a square", THREE, False),
        ("a circle is to the left of a small square and above a large square", THREE, True),
        ("one circle in the top left", THREE, False),
        ("two squares are on the right and a circle is on the left", THREE, True),
        ("a small square is at the top and there is a circle at the top and a square", THREE, True),
        ("three red stars", ALIKE, True),
        ("two large red stars and a small red star", ALIKE, True),
        ("a star and one small star", ALIKE, False),
        ("a small star is below a large star and there is a star on the right", ALIKE, True),
        ("an orange heart is in the middle", MIXED, False),
        ("an orange heart under a white heart", MIXED, True),
        ("an orange heart is under a white heart", MIXED, True),
    ],
)
def test_true_captions(caption: str, scene: Scene, complete: bool) -> None:
    verdict = check(caption, scene)
    assert verdict.true, verdict.reason
    assert verdict.reason == ""
    assert verdict.complete == complete


@pytest.mark.parametrize(
    ("caption", "scene", "reason"),
    [
        ("a blue circle", THREE, "there is no blue circle"),
        ("a large red circle", THREE, "there is no large red circle"),
        ("a red circle and a star", THREE, "there is no star"),
        ("two red circles", THREE, "2 red circles claimed, 1 there"),
        ("three blue squares", THREE, "3 blue squares claimed, 2 there"),
        ("one blue square", THREE, "1 blue square claimed, 2 there"),
        ("two red stars", ALIKE, "2 red stars claimed, 3 there"),
        ("a red circle and a red circle", THREE, "nothing is left to be called red circle"),
        ("two squares and a square", THREE, "nothing is left to be called square"),
        ("three stars and a star", ALIKE, "nothing is left to be called star"),
        ("a circle to the right of a small square", THREE, "circle not to the right of small square"),
        ("a circle to the left of a large square", THREE, "circle not to the left of large square"),
        ("a circle is to the left of two squares", THREE, "circle not to the left of squares"),
        ("a circle at the bottom", THREE, "circle not at the bottom"),
        ("two squares at the top and a circle", THREE, "squares not at the top"),
        ("a white heart in the middle", MIXED, "white heart not in the middle"),
    ],
)
def test_false_captions(caption: str, scene: Scene, reason: str) -> None:
    verdict = check(caption, scene)
    assert not verdict.true
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("", "word 1 is the end where an article or a number"),
        ("circle", 'word 1 is "circle" where an article'),
        ("a red", "word 3 is the end where a singular noun"),
        ("a red red circle", 'word 3 is "red" where a singular noun'),
        ("a red small circle", 'word 3 is "small" where a singular noun'),
        ("two red circle", 'word 3 is "circle" where a plural noun'),
        ("a red circles", 'word 3 is "circles" where a singular noun'),
        ("an red circle", 'word 1 is "an" where a was'),
        ("a orange heart", 'word 1 is "a" where an was'),
        ("a red circle and", "word 5 is the end where an article"),
        ("a red circle a blue square", 'word 4 is "a" where the end'),
        ("a red circle is", "word 5 is the end where a relation or a place"),
        ("a red circle is above", "word 6 is the end where an article"),
        ("a red circle are on the left", '"are" does not agree with 1 red circle'),
        ("there is two blue squares", '"is" does not agree with 2 blue squares'),
        ("there a red circle", 'word 2 is "a" where is or are'),
        ("a red circle above a blue square and a blue square", 'word 8 is "and" where the end'),
        ("a square and a red circle above a blue square", 'word 7 is "above" where the end'),
        ("a red circle is on the left and a blue square", "word 12 is the end where is or are"),
        ("a red circle .", 'word 4 is "." where the end'),
        ("A red circle", 'word 1 is "A" where an article'),
    ],
)
def test_ungrammatical_captions(caption: str, found: str) -> None:
    verdict = check(caption, THREE)
    assert not verdict.true
    assert verdict.reason.startswith(f"cannot be read: {found}")


@pytest.mark.parametrize(
    ("caption", "scene", "mentions"),
    [
        ("two squares and a circle", THREE, [(1, "squares", (1, 2)), (4, "circle", (0,))]),
        ("a square at the bottom and a circle", THREE, [(1, "square", (2,)), (7, "circle", (0,))]),
        ("a white circle and a small square", THREE, [(2, "circle", ()), (6, "square", (1,))]),
        ("three blue squares", THREE, [(2, "squares", (1, 2))]),
        ("a large square is above a square", THREE, [(2, "square", (2,)), (6, "square", (1,))]),
        ("circle the large square", THREE, [(0, "circle", (0,)), (3, "square", (2,))]),
        ("a star a star two stars", ALIKE, [(1, "star", (0,)), (3, "star", (1,)), (5, "stars", ())]),
        ("nothing here", ALIKE, []),
    ],
)  # fmt: skip
def test_mentions_of_each_noun(
    caption: str, scene: Scene, mentions: list[tuple[int, str, tuple[int, ...]]]
) -> None:
    assert check(caption, scene).mentions == tuple(Mention(*mention) for mention in mentions)


scenes = st.builds(
    sample_scene, st.sampled_from(SPLITS), st.integers(0, 10**9), image_size=st.just(96), seed=st.just(0)
)
OPPOSITES = {
    "to the left of": "to the right of", "left of": "right of", "above": "below", "over": "under",
    "to the right of": "to the left of", "right of": "left of", "below": "above", "under": "over",
}  # fmt: skip


def corruptions(caption: str, scene: Scene) -> Iterator[str]:
    """Captions one step away from a true one, none of which can be true."""
    words = caption.split()
    colours = [colour for colour in COLOURS if colour not in {o.colour for o in scene.objects}]
    absent = [shape for shape in SHAPES if shape not in {o.shape for o in scene.objects}]

    def with_word(index: int, word: str) -> str:
        return " ".join([*words[:index], *word.split(), *words[index + 1 :]])

    for index, word in enumerate(words):
        yield with_word(index, f"{word} {word}")
        if word in COLOURS:
            yield from (with_word(index, colour) for colour in colours)
        if word in SHAPES:
            yield from (with_word(index, shape) for shape in absent)
            yield with_word(index, "")
        if word in PLURALS:
            yield from (with_word(index, plural) for plural, shape in PLURALS.items() if shape in absent)
            yield with_word(index, PLURALS[word])
        if word in ("two", "three"):
            yield with_word(index, "three" if word == "two" else "two")
        if word in ("is", "are"):
            yield with_word(index, "are" if word == "is" else "is")
    for relation, opposite in OPPOSITES.items():
        before, found, after = caption.partition(f" {relation} ")
        if found:
            yield f"{before} {opposite} {after}"
    yield f"{caption} and a {absent[0]}"
    yield f"{caption} and {caption}"
    yield " ".join(reversed(words))


@given(scene=scenes, seed=st.integers(0, 10**6))
def test_no_corrupted_reference_is_true(scene: Scene, seed: int) -> None:
    assert set(OPPOSITES) == set(RELATIONS)
    for reference in describe(scene, np.random.default_rng(seed)):
        for corrupted in corruptions(reference.text, scene):
            assert not check(corrupted, scene).true, f"{reference.text} -> {corrupted}"


@given(scene=scenes, seed=st.integers(0, 10**6))
def test_what_is_true_of_a_picture_is_true_of_its_mirror_image_with_left_for_right(
    scene: Scene, seed: int
) -> None:
    side = scene.image_size
    flipped = replace(
        scene,
        objects=tuple(
            replace(o, box=(o.box[0], side - o.box[3], o.box[2], side - o.box[1])) for o in scene.objects
        ),
    )
    swap = {"left": "right", "right": "left"}
    for reference in describe(scene, np.random.default_rng(seed)):
        mirrored = " ".join(swap.get(word, word) for word in reference.text.split())
        assert check(mirrored, flipped) == check(reference.text, scene)
        if mirrored != reference.text:
            assert not check(reference.text, flipped).true


WORDS = ("a", "two", "red", "blue", "circle", "squares", "and", "is", "are", "there", "above", "on the left")


@given(parts=st.lists(st.sampled_from(WORDS)))
def test_any_words_get_a_verdict(parts: list[str]) -> None:
    caption = " ".join(parts)
    verdict = check(caption, THREE)
    nouns = [index for index, word in enumerate(caption.split()) if word in ("circle", "squares")]
    assert [mention.word_index for mention in verdict.mentions] == nouns
    assert verdict.true == (verdict.reason == "")
    named = [index for mention in verdict.mentions for index in mention.objects]
    assert len(named) == len(set(named))
    assert verdict.complete == (set(named) == {0, 1, 2})
