"""Where is what COCO's captions name? Nouns that name a category, and the boxes of that category in the photo.

The instances file is read when boxes are first asked for: training asks only where attention is supervised.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from captioner.data.annotations.coco_instances import CocoInstances
from captioner.data.annotations.nouns import coco_nouns
from captioner.data.annotations.regions import MarkedCaption
from captioner.data.readers.photo_folder import check_inside
from captioner.data.samples import CaptionSample
from captioner.errors import UsageError
from captioner.image.geometry import Box
from captioner.text.normalization import caption_normalizer


class CocoBoxes:
    """The boxes of what captions name, by sample.

    Args:
        places: Where the instances file may be; the first that is there is read.
        home: The folder that it must lie in; None for any.
    """

    def __init__(self, places: Sequence[Path], *, home: Path | None = None) -> None:
        self._places = tuple(places)
        self._home = home
        self._instances: CocoInstances | None = None
        self._normalizer = caption_normalizer(lowercase=False)

    def marked(self, sample: CaptionSample) -> tuple[MarkedCaption, ...]:
        """The captions of a sample with the boxes of all that each noun may name; none of a photo without annotation.

        Raises:
            UsageError: No instances file is there.
            DataError: It is malformed, or lies outside `home`.
        """
        photo = self._opened().photo(sample.id)
        if photo is None:
            return ()
        captions = []
        for text in map(self._normalizer.normalize_str, sample.captions):
            boxes: dict[int, tuple[Box, ...]] = {}
            for noun in coco_nouns(text.split()):
                named = tuple(
                    thing.box for thing in photo.objects if not thing.names.isdisjoint(noun.categories)
                )
                if named:
                    boxes |= dict.fromkeys(range(noun.start, noun.end), named)
            captions.append(MarkedCaption(text, boxes, photo.size))
        return tuple(captions)

    def _opened(self) -> CocoInstances:
        if self._instances is None:
            found = next((place for place in self._places if place.is_file()), None)
            if found is None:
                raise UsageError(
                    "objective.attention_supervision needs the boxes of COCO's objects (looked for "
                    f"{', '.join(map(str, self._places))}); name the instances JSON by data.instances, or set "
                    "objective.attention_supervision=0"
                )
            self._instances = CocoInstances(check_inside(found, "boxes of COCO's objects", self._home))
        return self._instances

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers read photos: a gigabyte of boxes would go to each in vain.
        return partial(CocoBoxes, home=self._home), (self._places,)
