"""How do the rows of a caption file become the samples of one split? One way for every reader of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.data.integrity.faults import Faults
from captioner.data.integrity.report import ReadingReport
from captioner.data.readers.photo_folder import check_photo_name, list_photos
from captioner.data.readers.text_files import check_text
from captioner.data.samples import CaptionSample
from captioner.errors import DataError

_NAMED = 1000  # missing photos kept by name


@dataclass(frozen=True, slots=True)
class Row:
    """What one line or entry of a file says about a photo.

    Attributes:
        where: File and line, or field.
        photo: The photo's name, relative to the folder of photos.
        captions: Its captions, or some of them.
        split: The split it names, where it does.
    """

    where: str
    photo: str
    captions: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Captioned:
    """Captions by photo.

    Attributes:
        texts: Captions by the photo's name, in the order of the file. A photo may have none.
        splits: The split that a photo's first row names, where it does.
        empty: Captions left out because they hold nothing but white space, by photo.
    """

    texts: dict[str, list[str]]
    splits: dict[str, str]
    empty: dict[str, int]

    def only(self, names: Iterable[str]) -> Captioned:
        """What concerns these photos."""
        kept = [name for name in names if name in self.texts]
        return Captioned({name: self.texts[name] for name in kept}, self.splits, self.empty)


def gather(rows: Iterable[Row], faults: Faults, *, allow_outside: bool = False) -> Captioned:
    """Captions by photo.

    Raises:
        DataError: A row names no photo inside the folder, holds bytes that are no text, or names another split than
            an earlier row of its photo; unless `faults` skips it.
    """
    captioned = Captioned({}, {}, {})
    for row in rows:
        with faults:
            name = check_photo_name(check_text(row.photo, row.where), row.where, allow_outside=allow_outside)
            captions = [check_text(caption, row.where) for caption in row.captions]
            if row.split is not None and captioned.splits.setdefault(name, row.split) != row.split:
                raise DataError(
                    f"{row.where}: photo {name} is in {row.split}, and in {captioned.splits[name]} by an earlier "
                    "row; give it one split"
                )
            texts = captioned.texts.setdefault(name, [])
            written = [caption for caption in captions if caption.strip()]
            texts += written
            if len(written) < len(captions):
                captioned.empty[name] = captioned.empty.get(name, 0) + len(captions) - len(written)
    return captioned


@dataclass(frozen=True, slots=True)
class Place:
    """Where a split's photos lie.

    Attributes:
        root: The dataset's root.
        photos: The folder of photos.
        allow_outside: Photos may lie outside both.
    """

    root: Path
    photos: Path
    allow_outside: bool = False


def samples_of(
    names: Sequence[str],
    captioned: Captioned,
    place: Place,
    faults: Faults,
    *,
    file: Path | str,
    source: Path | str,
    noun: str,
    remedy: str,
    ids: Mapping[str, str] | None = None,
    unknown: int = 0,
) -> tuple[tuple[CaptionSample, ...], ReadingReport]:
    """The samples of a split in the order of `names`, and what was left out.

    Args:
        names: The photos of the split.
        captioned: The captions of at least these photos; what it holds beside is counted as left out if its photo
            is missing.
        place: Where the photos lie.
        faults: What was wrong so far.
        file: Where the captions are from, for messages.
        source: Where `names` are from, for messages.
        noun: What `names` are, for messages.
        remedy: What to do where no photo is found.
        ids: A sample's id by the photo's name; None for the name itself.
        unknown: Captions of photos that the file does not list.

    Raises:
        DataError: No photo of the split is there with captions, or a photo is a link that leads out of the folder.
    """
    named = {*names, *captioned.texts}
    listing = list_photos(place.photos, named, root=place.root, allow_outside=place.allow_outside)
    for name in (name for name in dict.fromkeys([*names, *captioned.texts]) if name in listing.outside):
        with faults:
            raise DataError(listing.outside[name])
    found = [name for name in names if name in listing.there]
    if not found:
        raise DataError(
            f"{place.photos} holds none of the {len(names)} {noun} of {source}"
            + (f" (such as {names[0]})" if names else "")
            + f"; {remedy}"
            + ("" if names else "; no photo is in this split")
            + faults.hint()
        )
    samples = tuple(
        CaptionSample(ids[name] if ids else name, tuple(texts), place.photos / name)
        for name in found
        if (texts := captioned.texts.get(name))
    )
    if not samples:
        there = f"in {place.photos}" if source == file else f"of {source}"
        raise DataError(f"{file} has no caption for any of the {len(found)} {noun} {there}{faults.hint()}")
    missing = [name for name in _each(names, captioned.texts) if name not in listing.there]
    missing = [name for name in missing if name not in listing.outside]
    gone = {*missing, *listing.outside}
    report = ReadingReport(
        images=len(samples),
        captions=sum(len(sample.captions) for sample in samples),
        missing_images=len(missing),
        dropped_captions=unknown + sum(len(texts) for name, texts in captioned.texts.items() if name in gone),
        empty_captions=sum(captioned.empty.get(name, 0) for name in captioned.texts),
        uncaptioned_images=len(found) - len(samples),
        faults=faults.count,
        messages=tuple(faults.messages),
        missing=tuple(missing[:_NAMED]),
    )
    return samples, report


def _each(*groups: Iterable[str]) -> Iterator[str]:
    """Every name once, in order."""
    yield from dict.fromkeys(name for group in groups for name in group)
