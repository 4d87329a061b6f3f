"""What can be said of a caption besides its scores? A judge sees each caption once, with its maps, as it comes.

To add one: write a class with the shape of `Judge` in a file of its own and list it in `split.judges_for`. Its findings
then join the images' lines in captions.jsonl, its summary joins scores.json and the table, its boxes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
        seconds: What each method took for it, by name: its share of the batch.
    """

    index: int
    sample: CaptionSample
    photo: Photo
    caption: Caption
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a judge keeps of one image: little, for there may be a million of them.

    Attributes:
        figures: What JSON can hold, by name; written to captions.jsonl.
        boxes: For the index of a word, the boxes (top, left, bottom, right) of what it names, in pixels of the upright
            photo, for the page.
        kept: What else the judge's summary is made of: it is gathered from all processes and not written.
    """

    figures: Mapping[str, Any]
    boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)
    kept: Any = None


class Judge(Protocol):
    """Judges the captions of a split, one by one."""

    @property
    def name(self) -> str:
        """The key of its figures in scores.json and captions.jsonl."""
        ...

    def judge(self, case: Case) -> Finding:
        """Look at one image; its maps are not kept after this call."""
        ...

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """What JSON can hold of all images' findings, given in the order of the dataset.

        Numbers are printed in the table, other values only written. It must not depend on anything that `judge` left in
        the judge: with several processes each judges some of the images, and one makes the summary.
        """
        ...

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """The lines to print below the table; a judge that draws, draws into the folder."""
        ...
