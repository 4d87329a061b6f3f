"""Boxes of the objects that COCO's captions name: nouns of a category, and the category's boxes in the photo.

The instances file is read at the first request for boxes: training requests them only for attention supervision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from captioner.data.annotations.coco_instances import CocoInstances
from captioner.data.annotations.nouns import coco_nouns
from captioner.data.annotations.token_regions import CaptionWithBoxes
from captioner.data.readers.photo_folder import check_inside
from captioner.data.samples import CaptionSample
from captioner.errors import UsageError
from captioner.image.geometry import Box
from captioner.text.normalization import caption_normalizer


class CocoBoxes:
    """The boxes of the objects that captions name, by sample.

    Args:
        candidates: Paths of the instances file; the first that exists is read.
        home: The folder that must contain it; None for any.
    """

    def __init__(self, candidates: Sequence[Path], *, home: Path | None = None) -> None:
        self._candidates = tuple(candidates)
        self._home = home
        self._instances: CocoInstances | None = None
        self._normalizer = caption_normalizer(lowercase=False)

    def captions_with_boxes(self, sample: CaptionSample) -> tuple[CaptionWithBoxes, ...]:
        """The captions of a sample, each noun with the boxes of its categories; empty for a photo without annotation.

        Raises:
            UsageError: No instances file exists.
            DataError: It is malformed, or lies outside `home`.
        """
        photo = self._open().photo(sample.id)
        if photo is None:
            return ()
        captions = []
        for text in map(self._normalizer.normalize_str, sample.captions):
            boxes: dict[int, tuple[Box, ...]] = {}
            for noun in coco_nouns(text.split()):
                matching = tuple(
                    thing.box for thing in photo.objects if not thing.names.isdisjoint(noun.categories)
                )
                if matching:
                    boxes |= dict.fromkeys(range(noun.start, noun.end), matching)
            captions.append(CaptionWithBoxes(text, boxes, photo.size))
        return tuple(captions)

    def _open(self) -> CocoInstances:
        if self._instances is None:
            path = next((path for path in self._candidates if path.is_file()), None)
            if path is None:
                raise UsageError(
                    "objective.attention_supervision needs the boxes of COCO's objects (looked for "
                    f"{', '.join(map(str, self._candidates))}); name the instances JSON by data.instances, or set "
                    "objective.attention_supervision=0"
                )
            self._instances = CocoInstances(check_inside(path, "boxes of COCO's objects", self._home))
        return self._instances

    def __reduce__(self) -> tuple[Any, ...]:
        # Not the instances: worker processes read photos, and would each get a gigabyte of boxes.
        return partial(CocoBoxes, home=self._home), (self._candidates,)
