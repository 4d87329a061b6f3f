"""What did a reader find in its files, and what did it leave out?"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """What a reader found and what it left out.

    Attributes:
        images: Photos that are there and have captions: the length of the dataset.
        captions: Captions of those photos.
        missing_images: Photos that the annotations name and the photo folder does not hold.
        dropped_captions: Captions left out because their photo is missing or unknown.
        empty_captions: Captions left out because they hold nothing but white space.
        uncaptioned_images: Photos left out because they have no caption.
        faults: Entries left out because they are wrong (`on_bad=skip`).
        messages: What was wrong with them, each with file and line or field; the first 1,000.
        missing: Names of the missing photos; the first 1,000.
    """

    images: int
    captions: int
    missing_images: int
    dropped_captions: int
    empty_captions: int
    uncaptioned_images: int
    faults: int = 0
    messages: tuple[str, ...] = field(default=(), compare=False)
    missing: tuple[str, ...] = field(default=(), compare=False)

    def summary(self) -> str:
        """One line for the terminal: what is there and, if anything was left out, what."""
        found = f"{_count(self.images, 'image')}, {_count(self.captions, 'caption')}"
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


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
