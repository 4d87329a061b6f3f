"""Kinds of findings in a data set, their meaning, and which of them are serious."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unopened",
    "faulty",
    "missing",
    "unreadable",
    "leak",
    "leak_file",
    "duplicate",
    "near_duplicate",
    "mode",
    "turned",
    "animated",
    "uncaptioned",
    "empty",
    "long",
    "script",
    "repeated",
    "common",
]

_MAX_NAMES = 4  # photos of one finding that a line names


@dataclass(frozen=True, slots=True)
class Meaning:
    """Title and meaning of a kind of finding.

    Attributes:
        title: Its heading.
        advice: Its effect on training, and what to do.
        serious: Whether it makes the exit status 1.
        photos: Whether its subjects are photos that can be shown.
    """

    title: str
    advice: str
    serious: bool
    photos: bool = False


MEANINGS: dict[Kind, Meaning] = {
    "unopened": Meaning("Splits that cannot be opened", "They cannot be used.", True),
    "faulty": Meaning(
        "Faulty entries of caption files",
        "They stop the training, or are left out with data.on_bad=skip.",
        True,
    ),
    "missing": Meaning(
        "Missing photos", "Named by the captions, not in the folder; their captions are left out.", True
    ),
    "unreadable": Meaning(
        "Corrupt, truncated or foreign photos",
        "They stop the training, or are left out with data.on_bad=skip. Copy them again, or delete them.",
        True,
        photos=True,
    ),
    "leak_file": Meaning(
        "The same file in two splits",
        "Scores on the second split reward memorisation. data.split_by=content keeps copies together.",
        True,
        photos=True,
    ),
    "leak": Meaning(
        "Nearly the same photo in two splits",
        "Scores on the second split reward memorisation. data.split_by=content keeps them together.",
        True,
        photos=True,
    ),
    "duplicate": Meaning(
        "The same file twice in a split",
        "Such photos count twice in training and in scores.",
        False,
        photos=True,
    ),
    "near_duplicate": Meaning(
        "Nearly the same photo twice in a split",
        "Such photos count twice in training and in scores.",
        False,
        photos=True,
    ),
    "mode": Meaning(
        "Photos that are not 8-bit RGB",
        "They are converted: grey and palette to RGB, CMYK too, 16 bits scaled, transparency on white.",
        False,
        photos=True,
    ),
    "turned": Meaning(
        "Photos rotated by EXIF", "They are always used and shown upright.", False, photos=True
    ),
    "animated": Meaning("Animations", "Only their first frame is used.", False, photos=True),
    "uncaptioned": Meaning("Photos without a caption", "They are left out.", False),
    "empty": Meaning("Empty captions", "They contain no word; blank ones are left out.", False),
    "long": Meaning(
        "Very long captions", "Training truncates them to model.decoder.max_length tokens.", False
    ),
    "script": Meaning(
        "Captions in another script", "Most of their letters are not in the expected script.", False
    ),
    "repeated": Meaning(
        "A caption twice for one photo",
        "It counts twice in training and adds nothing to scores.",
        False,
    ),
    "common": Meaning(
        "One caption for many photos",
        "Such captions teach frequent sentences instead of the photo's content.",
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One photo that a finding is about.

    Attributes:
        split: Its split.
        index: Its index there; None if it is not in the data set.
        name: Its id.
    """

    split: str
    index: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        kind: Its kind.
        subjects: The photos it is about; several are identical or near-identical.
        detail: Details beyond its kind.
        count: The number of findings it represents.
    """

    kind: Kind
    subjects: tuple[Subject, ...] = ()
    detail: str = ""
    count: int = 1

    @property
    def text(self) -> str:
        """The finding as one line."""
        names = ", ".join(f"{subject.split}: {subject.name}" for subject in self.subjects[:_MAX_NAMES])
        if len(self.subjects) > _MAX_NAMES:
            names += f" and {len(self.subjects) - _MAX_NAMES:,} more"
        return " — ".join(part for part in (names, self.detail) if part)
