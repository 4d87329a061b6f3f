"""What does a word of a caption name in its photo? Ties the words of a caption to what people marked in the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from captioner.caption import Caption
from captioner.data.annotations.annotated_photo import AnnotatedObject, AnnotatedPhoto
from captioner.data.annotations.nouns import coco_nouns, normalize_word, plural
from captioner.data.scenes import Scene, check
from captioner.data.scenes.words import PLURALS
from captioner.evaluation.measures.grounding import Grid, Mention
from captioner.evaluation.measures.target import Target, centre_map, target


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A name in a caption and what it may name.

    Attributes:
        start: Index of its first word.
        end: Index after its last word.
        text: As read.
        kind: Its word class.
        objects: All that it may name in the photo; empty where nothing of that name is there.
    """

    start: int
    end: int
    text: str
    kind: str
    objects: tuple[AnnotatedObject, ...]


def name_coco(words: Sequence[str], photo: AnnotatedPhoto) -> list[Named]:
    """The names of COCO categories among a caption's words, and the objects of these categories."""
    named = []
    for noun in coco_nouns(words):
        objects = tuple(thing for thing in photo.objects if not thing.names.isdisjoint(noun.categories))
        there = [
            category for category in noun.categories if any(category in thing.names for thing in objects)
        ]
        named.append(Named(noun.start, noun.end, noun.text, (there or noun.categories)[0], objects))
    return named


def name_entities(words: Sequence[str], photo: AnnotatedPhoto) -> list[Named]:
    """The words of a caption that the phrases about the photo end with, and the objects of these phrases.

    Singular and plural are the same. A word that no phrase ends with may still be right, so it names nothing here.
    """
    named = []
    for at, word in enumerate(map(normalize_word, words)):
        objects = tuple(
            thing
            for thing in photo.objects
            if any(word in (name, plural(name)) or name == plural(word) for name in thing.names)
        )
        if objects:
            named.append(Named(at, at + 1, word, objects[0].kind, objects))
    return named


def name_scene(caption: str, scene: Scene, photo: AnnotatedPhoto) -> list[Named]:
    """The nouns of a caption of `scenes` and the objects that they truly name.

    Args:
        caption: The caption.
        scene: What the picture shows.
        photo: What `annotate_scene` makes of it.
    """
    said = caption.split()
    kinds = {**PLURALS, **{shape: shape for shape in PLURALS.values()}}
    return [
        Named(
            mention.word_index,
            mention.word_index + 1,
            said[mention.word_index],
            kinds.get(mention.noun, mention.noun),
            tuple(photo.objects[k] for k in mention.objects),
        )
        for mention in check(caption, scene).mentions
    ]


def annotate_scene(scene: Scene) -> AnnotatedPhoto:
    """A scene's objects as people would have marked them, without an error."""
    size = (scene.image_size, scene.image_size)
    objects = tuple(
        AnnotatedObject(
            frozenset({thing.shape}),
            (float(thing.box[0]), float(thing.box[1]), float(thing.box[2]), float(thing.box[3])),
            run_lengths.encode(np.asfortranarray(scene.mask(k), dtype=np.uint8)),
            thing.shape,
        )
        for k, thing in enumerate(scene.objects)
    )
    return AnnotatedPhoto(size, objects)


def mention_of(named: Named, photo: AnnotatedPhoto, caption: Caption, *, image: str) -> Mention:
    """A name with its maps, ready to be judged.

    Args:
        named: The name.
        photo: What was marked in the photo; masks of another size than the photo's are stretched over it.
        caption: The caption that holds it.
        image: Id of the photo.
    """
    span = slice(named.start, named.end)
    heads = caption.maps[span].mean(axis=0)
    maps = {"attention": heads.mean(axis=(0, 1))}
    maps |= {method: one.values[span].mean(axis=0) for method, one in caption.explanations.items()}
    grid: Grid = (heads.shape[-2], heads.shape[-1])
    grids = {grid, *((own.shape[0], own.shape[1]) for own in maps.values())}
    targets: dict[Grid, tuple[Target, Target]] = {}
    if named.objects:
        regions: list[NDArray[np.bool_]] = [
            photo.mask(named.objects),
            photo.boxes([thing.box for thing in named.objects]),
        ]
        for each in grids:
            mask, box = (target(region, caption.geometry, each) for region in regions)
            targets[each] = mask, box
    return Mention(image, named.text, named.kind, targets, maps, heads, centre_map(caption.geometry, grid))
