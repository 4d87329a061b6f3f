"""Matching of a caption's words with the annotated objects of its photo."""

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
    """A noun in a caption and the objects that it may name.

    Attributes:
        start: Index of its first word.
        end: Index after its last word.
        text: As written.
        kind: Its category.
        objects: All objects of the photo that it may name; empty if there are none.
    """

    start: int
    end: int
    text: str
    kind: str
    objects: tuple[AnnotatedObject, ...]


def name_coco(words: Sequence[str], photo: AnnotatedPhoto) -> list[Named]:
    """The nouns of COCO categories among a caption's words, and the objects of these categories."""
    named = []
    for noun in coco_nouns(words):
        objects = tuple(thing for thing in photo.objects if not thing.names.isdisjoint(noun.categories))
        there = [
            category for category in noun.categories if any(category in thing.names for thing in objects)
        ]
        named.append(Named(noun.start, noun.end, noun.text, (there or noun.categories)[0], objects))
    return named


def name_entities(words: Sequence[str], photo: AnnotatedPhoto) -> list[Named]:
    """The words of a caption with which phrases about the photo end, and the objects of these phrases.

    Singular and plural match. A word with which no phrase ends may still be right, so it counts as no noun.
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
    """The nouns of a caption of `scenes` and the objects that they name.

    Args:
        caption: The caption.
        scene: Content of the picture.
        photo: Its `annotate_scene`.
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
    """A scene's objects as exact annotations."""
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
    """A noun with its maps and targets, ready for the measures.

    Args:
        named: The noun.
        photo: Annotations of the photo; masks of another size than the photo's are scaled to it.
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
