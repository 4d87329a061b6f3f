"""What can be said of a caption besides its scores? A judge sees each caption once, with its maps, as it comes.

To add one: write a class with the shape of `Judge` in a file of its own and list it in `split.judges_for`. Its findings
then join the images' lines in captions.jsonl, its summary joins scores.json and the table, its boxes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from captioner.caption import Caption
from captioner.data.samples import CaptionSample
from captioner.image.decode import Photo
from captioner.image.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image of the split and what the model made of it.

    Attributes:
        index: Its place in the dataset.
        sample: Its id and references.
        photo: Its pixels.
        caption: Its caption, with maps.
    """

    index: int
    sample: CaptionSample
    photo: Photo
    caption: Caption


@dataclass(frozen=True, slots=True)
class Finding:
    """What a judge keeps of one image: little, for there may be a million of them.

    Attributes:
        figures: What JSON can hold, by name; all that the judge's summary is made of.
        boxes: For the index of a word, the boxes (top, left, bottom, right) of what it names, in pixels of the upright
            photo, for the page.
    """

    figures: Mapping[str, Any]
    boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)


class Judge(Protocol):
    """Judges the captions of a split, one by one."""

    @property
    def name(self) -> str:
        """The key of its figures in scores.json and captions.jsonl."""
        ...

    def judge(self, case: Case) -> Finding:
        """Look at one image; its maps are not kept after this call."""
        ...

    def summary(self, figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What JSON can hold of all images' figures, given in the order of the dataset.

        Numbers are printed in the table, other values only written. It must not depend on anything that `judge` left in
        the judge: with several processes each judges some of the images, and one makes the summary.
        """
        ...
