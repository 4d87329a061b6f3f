"""CHAIR by the definition in Rohrbach et al. 2018, counted by hand."""

from __future__ import annotations

import pytest

from captioner.evaluation.measures.chair import NamedObjects, chair

NONE: frozenset[str] = frozenset()


def named(*names: str, marked: tuple[str, ...] = (), told: tuple[str, ...] = ()) -> NamedObjects:
    return NamedObjects(tuple((name,) for name in names), frozenset(marked), frozenset(told))


def test_a_share_of_objects_and_a_share_of_captions() -> None:
    captions = [
        named("person", "bench", "bench", marked=("person",)),  # a bench that is not there, named twice
        named("dog", "cat", marked=("dog", "cat")),
        named(),  # names nothing, but counts as a caption
        named("car", marked=("truck",), told=("car",)),  # not marked, but told by a reference
    ]
    paper = chair(captions)
    assert (paper.chair_i, paper.chair_s) == pytest.approx((2 / 6, 1 / 4))
    assert (paper.named, paper.captions) == (6, 4)
    marked = chair(captions, with_references=False)
    assert (marked.chair_i, marked.chair_s) == pytest.approx((3 / 6, 2 / 4))


def test_a_word_that_may_name_either_is_right_where_one_is_there() -> None:
    bike = NamedObjects((("bicycle", "motorcycle"),), frozenset({"motorcycle"}), NONE)
    assert chair([bike]).chair_i == 0
    assert chair([NamedObjects(bike.names, frozenset({"car"}), NONE)]).chair_i == 1


def test_nothing_said_is_nothing_made_up() -> None:
    assert (chair([]).chair_i, chair([]).chair_s) == (0, 0)
    assert chair([named(marked=("dog",))]).chair_i == 0
