"""What did a reader find in its files, and what did it leave out?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_TOLD = 20  # faults that are named one by one


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """What a reader found and what it left out.

    Attributes:
        images: Photos that are there and have captions: the length of the dataset.
        captions: Captions of those photos; None where nobody has read them yet.
        missing_images: Photos that the annotations name and the photo folder does not hold.
        dropped_captions: Captions left out because their photo is missing or unknown.
        empty_captions: Captions left out because they hold nothing but white space.
        uncaptioned_images: Photos left out because they have no caption.
        faults: Entries left out because they are wrong (`on_bad=skip`).
        messages: What was wrong with them, each with file and line or field; the first 1,000.
        missing: Names of the missing photos; the first 1,000.
    """

    images: int
    captions: int | None
    missing_images: int
    dropped_captions: int
    empty_captions: int
    uncaptioned_images: int
    faults: int = 0
    messages: tuple[str, ...] = field(default=(), compare=False)
    missing: tuple[str, ...] = field(default=(), compare=False)

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not (
            self.missing_images
            or self.dropped_captions
            or self.empty_captions
            or self.uncaptioned_images
            or self.faults
        )

    def summary(self) -> str:
        """One line for the terminal: what is there and, if anything was left out, what."""
        found = _count(self.images, "image")
        if self.captions is not None:
            found += f", {_count(self.captions, 'caption')}"
        left_out = ", ".join(
            part
            for count, part in (
                (self.missing_images, f"{_count(self.missing_images, 'image')} not in the folder"),
                (self.dropped_captions, f"{_count(self.dropped_captions, 'caption')} without image"),
                (self.empty_captions, _count(self.empty_captions, "empty caption")),
                (self.uncaptioned_images, f"{_count(self.uncaptioned_images, 'image')} without caption"),
                (self.faults, _count(self.faults, "faulty entry", "faulty entries")),
            )
            if count
        )
        return f"{found} (left out: {left_out})" if left_out else found


def left_out(datasets: Mapping[str, object]) -> list[str]:
    """What the readers of some splits left out: each fault once with its file and line, then a line for each split.

    Args:
        datasets: The splits by name. Of those that keep no report, nothing is told.
    """
    reports = {split: getattr(dataset, "report", None) for split, dataset in datasets.items()}
    told = {
        split: report
        for split, report in reports.items()
        if isinstance(report, ReadingReport) and not report.complete
    }
    faults = list(dict.fromkeys(message for report in told.values() for message in report.messages))
    lines = [f"left out: {message}" for message in faults[:_TOLD]]
    if len(faults) > _TOLD:
        lines.append(f"left out: {len(faults) - _TOLD:,} more faulty entries")
    return [*lines, *(f"{split}: {report.summary()}" for split, report in told.items())]


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
