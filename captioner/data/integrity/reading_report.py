"""Report of a reader: the number of photos and captions, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_MAX_LISTED = 20  # faults that are listed one by one


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """Counts of what a reader found and what it left out.

    Attributes:
        images: Photos that exist and have captions: the length of the dataset.
        captions: Captions of those photos; None where they have not been read yet.
        missing_images: Photos that the annotations name and the photo folder lacks.
        dropped_captions: Captions left out because their photo is missing or unknown.
        empty_captions: Captions left out because they contain only white space.
        uncaptioned_images: Photos left out because they have no caption.
        faults: Faulty entries left out (`on_bad=skip`).
        messages: Their error messages, each with file and line or field; the first 1,000.
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
        """One line for the terminal: counts, and what was left out, if anything."""
        summary = _count(self.images, "image")
        if self.captions is not None:
            summary += f", {_count(self.captions, 'caption')}"
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
        return f"{summary} (left out: {left_out})" if left_out else summary


def omission_lines(datasets: Mapping[str, object]) -> list[str]:
    """Lines on what the readers of some splits left out: each fault once, then a summary of each split.

    Args:
        datasets: The splits by name. Those without a report are skipped.
    """
    reports = {split: getattr(dataset, "report", None) for split, dataset in datasets.items()}
    incomplete = {
        split: report
        for split, report in reports.items()
        if isinstance(report, ReadingReport) and not report.complete
    }
    faults = list(dict.fromkeys(message for report in incomplete.values() for message in report.messages))
    lines = [f"left out: {message}" for message in faults[:_MAX_LISTED]]
    if len(faults) > _MAX_LISTED:
        lines.append(f"left out: {len(faults) - _MAX_LISTED:,} more faulty entries")
    return [*lines, *(f"{split}: {report.summary()}" for split, report in incomplete.items())]


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
