from __future__ import annotations

import pytest

from captioner.data.annotations.coco_words import COCO_NAMES, EITHER
from captioner.data.annotations.nouns import Noun, coco_nouns, normalize_word, plural


def named(caption: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(noun.text, noun.categories) for noun in coco_nouns(caption.split())]


@pytest.mark.parametrize(
    ("caption", "categories"),
    [
        ("two dogs chase a ball", ["dog", "sports ball"]),
        ("a hot dog", ["hot dog"]),
        ("a teddy bear under the traffic lights", ["teddy bear", "traffic light"]),
        ("a toy car", []),
        ("people wait at a bus stop", ["person"]),
        ("the train tracks", []),
        ("policemen and children with knives", ["person", "person", "knife"]),
        ("the dog's ball", ["dog", "sports ball"]),
        ("A man, on a pick-up truck.", ["person", "truck"]),
        # Of two adjacent names the second counts,
        ("a baby elephant", ["elephant"]),
        ("the pizza oven", ["oven"]),
        # but a plural after a person is a verb.
        ("a man skateboards", ["person"]),
        ("a man skis down a slope", ["person"]),
        ("skis in the snow", ["skis"]),
        # A couple of people are people; a couple of zebras are not.
        ("a couple on a bench", ["person", "bench"]),
        ("a couple of zebras", ["zebra"]),
        # Oranges are fruit, orange is a colour.
        ("an orange on a plate", ["orange"]),
        ("three oranges", ["orange"]),
        ("an orange cat", ["cat"]),
        ("an orange and black bird", ["bird"]),
        ("a man in orange", ["person"]),
        ("", []),
    ],
)
def test_names_are_distinguished_from_phrases_that_resemble_them(caption: str, categories: list[str]) -> None:
    assert [found[0] for _, found in named(caption)] == categories


def test_a_name_has_the_indices_of_its_words() -> None:
    words = ["a", "Stop-sign", "near", "two", "wine", "glasses", "."]
    assert coco_nouns(words) == [
        Noun(1, 2, "stop sign", ("stop sign",)),
        Noun(4, 6, "wine glasses", ("wine glass",)),
    ]


def test_a_word_may_name_one_of_several_categories() -> None:
    assert named("a bike") == [("bike", ("bicycle", "motorcycle"))]
    assert all(set(categories) <= COCO_NAMES.keys() for categories in EITHER.values())


def test_every_category_is_found_by_its_own_name_and_its_plural() -> None:
    assert len(COCO_NAMES) == 80
    for category in COCO_NAMES:
        for name in (category, plural(category)):
            assert named(f"there is {name}") == [(name, (category,))], name


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("person", "people"),
        ("policeman", "policemen"),
        ("human", "humans"),
        ("knife", "knives"),
        ("bus", "buses"),
        ("bench", "benches"),
        ("puppy", "puppies"),
        ("donkey", "donkeys"),
        ("wine glass", "wine glasses"),
        ("sheep", "sheep"),
        ("grandchild", "grandchildren"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize("word", ["Dog", "dog.", '"dog"', "dog's", "dog’s,"])
def test_case_punctuation_and_possessives_are_ignored(word: str) -> None:
    assert normalize_word(word.rstrip(",")) == "dog"
