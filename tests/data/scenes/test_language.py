from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes import Scenes, check
from captioner.data.scenes.language import describe
from captioner.data.scenes.relations import PLACES, RELATIONS
from captioner.data.scenes.shapes import SHAPES
from captioner.data.scenes.words import COUNTS, OPENINGS, PLURALS
from captioner.data.scenes.world import COLOURS, SIZES, SPLITS, sample_scene


@given(split=st.sampled_from(SPLITS), index=st.integers(0, 10**9), side=st.integers(32, 128))
def test_references_are_true_complete_and_know_their_objects(split: str, index: int, side: int) -> None:
    scene = sample_scene(split, index, image_size=side, seed=0)
    references = describe(scene, np.random.default_rng(index))
    assert len({reference.text for reference in references}) == 5
    for reference in references:
        verdict = check(reference.text, scene)
        assert verdict.true, f"{reference.text}: {verdict.reason}"
        assert verdict.complete
        assert verdict.reason == ""
        assert verdict.mentions == reference.mentions
        named = [index for mention in reference.mentions for index in mention.objects]
        assert sorted(named) == list(range(len(scene.objects)))
        for mention in reference.mentions:
            assert reference.text.split()[mention.word_index] == mention.noun


def test_every_word_and_phrasing_occurs() -> None:
    train = Scenes("train", size=1000)
    captions = [caption for i in range(len(train)) for caption in train[i].captions]
    padded = [f" {caption} " for caption in captions]
    for words in (*RELATIONS, *PLACES, *OPENINGS, *COUNTS, *PLURALS, *COLOURS, *SHAPES, *SIZES, "a", "an"):
        assert any(f" {words} " in caption for caption in padded), words
    assert len({word for caption in captions for word in caption.split()}) == 49
    assert max(len(caption.split()) for caption in captions) <= 24


def test_relations_and_sizes_are_frequent() -> None:
    train = Scenes("train", size=1000)
    captions = [caption.split() for i in range(len(train)) for caption in train[i].captions]
    related = np.mean([bool({"above", "over", "below", "under", "of"} & set(c[3:])) for c in captions])
    sized = np.mean([bool(set(SIZES) & set(c)) for c in captions])
    assert related > 0.1
    assert 0.4 < sized < 0.8
