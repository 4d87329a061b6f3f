from __future__ import annotations

import numpy as np
import pytest

from captioner.caption import Caption, Explanation, Word
from captioner.data.annotations.annotated_photo import AnnotatedObject, AnnotatedPhoto
from captioner.data.scenes import Scenes
from captioner.evaluation.measures.naming import (
    annotate_scene,
    mention_of,
    name_coco,
    name_entities,
    name_scene,
)
from captioner.image.geometry import Box, ImageGeometry


def thing(*names: str, box: Box = (0.0, 0.0, 10.0, 10.0), kind: str = "kind") -> AnnotatedObject:
    return AnnotatedObject(frozenset(names), box, None, kind)


def test_a_name_may_be_any_object_of_its_category() -> None:
    photo = AnnotatedPhoto(
        (20, 20), (thing("dog"), thing("cat"), thing("dog", box=(5, 5, 9, 9)), thing("motorcycle"))
    )
    dogs, bike, bus = name_coco(["two", "dogs", "near", "a", "bike", "and", "a", "school", "bus"], photo)
    assert (dogs.text, dogs.kind, dogs.objects) == ("dogs", "dog", (photo.objects[0], photo.objects[2]))
    assert (bike.kind, bike.objects) == ("motorcycle", (photo.objects[3],))
    assert (bus.start, bus.end, bus.kind, bus.objects) == (7, 9, "bus", ())


def test_entities_are_named_by_the_last_words_of_their_phrases() -> None:
    photo = AnnotatedPhoto((20, 20), (thing("man", "guys", kind="people"), thing("ball", kind="other")))
    names = name_entities(["Men", "play", "with", "balls", ",", "a", "guy", "watches", "the", "dog"], photo)
    assert [(name.text, name.kind) for name in names] == [
        ("men", "people"),
        ("balls", "other"),
        ("guy", "people"),
    ]


@pytest.mark.parametrize("index", [0, 9])
def test_a_scene_names_its_own_objects(index: int) -> None:
    scenes = Scenes("test")
    scene = scenes.scene(index)
    photo = annotate_scene(scene)
    for k, annotated in enumerate(photo.objects):
        assert (photo.mask([annotated]) == scene.mask(k)).all()
        assert annotated.box == scene.objects[k].box
    for reference in scenes.references(index):
        names = name_scene(reference.text, scene, photo)
        named = [tuple(photo.objects.index(one) for one in name.objects) for name in names]
        assert sorted(named) == sorted(mention.objects for mention in reference.mentions)
        assert {name.kind for name in names} <= {one.kind for one in photo.objects}
    absent = "a purple heart and a purple star and a purple cross"
    assert any(not name.objects for name in name_scene(absent, scene, photo))


def test_a_name_of_two_words_has_the_mean_of_their_maps() -> None:
    rng = np.random.default_rng(0)
    heads = rng.random((3, 2, 4, 2, 3), dtype=np.float32)
    geometry = ImageGeometry((20, 20), 1, (0.0, 0.0, 20.0, 20.0), (32, 32))
    words = tuple(
        Word(text, 0.0, 1.0, own.mean(axis=(0, 1)))
        for text, own in zip(("a", "hot", "dog"), heads, strict=True)
    )
    other = rng.random((3, 5, 5), dtype=np.float32)
    caption = Caption(
        "a hot dog", words, 0.0, 0.0, heads, geometry, {"occlusion": Explanation(other, "nats")}
    )
    photo = AnnotatedPhoto((40, 40), (thing("hot dog", box=(0.0, 0.0, 20.0, 20.0)),))
    (named,) = name_coco(["a", "hot", "dog"], photo)
    mention = mention_of(named, photo, caption, image="x")
    assert mention.maps["attention"] == pytest.approx(heads[1:].mean(axis=(0, 1, 2)))
    assert mention.maps["occlusion"] == pytest.approx(other[1:].mean(axis=0))
    assert mention.heads == pytest.approx(heads[1:].mean(axis=0))
    assert mention.targets.keys() == {(2, 3), (5, 5)}
    assert mention.size == 0.25  # of the photo as it was annotated, at twice the size
    gone = mention_of(name_coco(["cat"], photo)[0], photo, caption, image="x")
    assert (gone.present, gone.size) == (False, 0)
