"""Protocol of judges, which compute figures of captions besides their scores, one caption with its maps at a time.

To add one, write a class that satisfies `Judge` in a file of its own and list it in `split.judges_for`. Its findings go
to the images' lines in captions.jsonl, its summary to scores.json and the table, its boxes to the page.
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
    """One image of the split with its caption.

    Attributes:
        index: Its index in the dataset.
        sample: Its id and references.
        photo: Its pixels.
        caption: Its caption, with maps.
        seconds: Time of each method by name: its share of the batch's.
    """

    index: int
    sample: CaptionSample
    photo: Photo
    caption: Caption
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """A judge's result for one image; small, since there may be a million images.

    Attributes:
        figures: JSON values by name; written to captions.jsonl.
        boxes: By word index, the boxes (top, left, bottom, right) of the objects it names, in pixels of the upright
            photo, for the page.
        kept: Further data for the judge's summary; gathered from all processes and not written.
    """

    figures: Mapping[str, Any]
    boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)
    kept: Any = None


class Judge(Protocol):
    """Computes figures of the captions of a split, one by one."""

    @property
    def name(self) -> str:
        """The key of its figures in scores.json and captions.jsonl."""
        ...

    def judge(self, case: Case) -> Finding:
        """Result for one image; its maps are not kept after this call."""
        ...

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """JSON values for all images' findings, which are given in the order of the dataset.

        Numbers are printed in the table, other values only written. Must not depend on state left by `judge`: with
        several processes each judges some of the images, and one makes the summary.
        """
        ...

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """Lines to print below the table; plots are written into the folder."""
        ...
