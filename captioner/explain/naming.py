"""What does a word of a caption name in its photo? Ties the words of a caption to what people marked in the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.data.annotated import AnnotatedObject, AnnotatedPhoto
from captioner.explain.grounding import Grid, Mention
from captioner.explain.nouns import coco_nouns
from captioner.explain.target import Target, centre_map, target


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


def mention_of(named: Named, photo: AnnotatedPhoto, caption: Caption, *, image: str) -> Mention:
    """A name with its maps, ready to be judged.

    Args:
        named: The name.
        photo: What was marked in the photo; masks of another size than the photo's are stretched over it.
        caption: The caption that holds it.
        image: Id of the photo.
    """
    span = slice(named.start, named.end)
    own = np.mean([word.map for word in caption.words[span]], axis=0)
    maps = {"attention": own.astype(np.float32)}
    for method, all_maps in caption.explanations.items():
        maps[method] = all_maps[span].mean(axis=0)
    heads = caption.maps[span].mean(axis=0)
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
