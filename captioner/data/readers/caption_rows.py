"""Assembly of one split's samples from the rows of a caption file, shared by all readers of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.data.integrity.faults import Faults
from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.readers.photo_folder import check_photo_name, list_photos
from captioner.data.readers.text_files import check_text
from captioner.data.samples import CaptionSample
from captioner.errors import DataError

_MAX_MISSING_NAMES = 1000  # missing photos that the report names


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """The captions that one line or entry of a file gives a photo.

    Attributes:
        where: File and line, or field.
        photo: The photo's name, relative to the folder of photos.
        captions: All of the photo's captions, or some of them.
        split: The split that the row names, if any.
    """

    where: str
    photo: str
    captions: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class PhotoCaptions:
    """Captions by photo.

    Attributes:
        texts: Captions by the photo's name, in the order of the file. A photo may have none.
        splits: The split that a photo's first row names, if any.
        empty: The number of captions left out because they contain only white space, by photo.
    """

    texts: dict[str, list[str]]
    splits: dict[str, str]
    empty: dict[str, int]

    def only(self, names: Iterable[str]) -> PhotoCaptions:
        """The captions of these photos alone."""
        kept = [name for name in names if name in self.texts]
        return PhotoCaptions({name: self.texts[name] for name in kept}, self.splits, self.empty)


def group_by_photo(
    rows: Iterable[CaptionRow], faults: Faults, *, allow_outside: bool = False
) -> PhotoCaptions:
    """Captions by photo.

    Raises:
        DataError: A row names no photo inside the folder, contains invalid text, or names another split than an
            earlier row of its photo; unless `faults` skips the row.
    """
    captioned = PhotoCaptions({}, {}, {})
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
            kept = [caption for caption in captions if caption.strip()]
            texts += kept
            if len(kept) < len(captions):
                captioned.empty[name] = captioned.empty.get(name, 0) + len(captions) - len(kept)
    return captioned


@dataclass(frozen=True, slots=True)
class PhotoLocation:
    """The folders of a split's photos.

    Attributes:
        root: The data set's root.
        photos: The folder of photos.
        allow_outside: Whether photos may lie outside both.
    """

    root: Path
    photos: Path
    allow_outside: bool = False


def build_samples(
    names: Sequence[str],
    captioned: PhotoCaptions,
    location: PhotoLocation,
    faults: Faults,
    *,
    file: Path | str,
    source: Path | str,
    noun: str,
    remedy: str,
    ids: Mapping[str, str] | None = None,
    unknown: int = 0,
) -> tuple[tuple[CaptionSample, ...], ReadingReport]:
    """The samples of a split in the order of `names`, and the report on what was left out.

    Args:
        names: The photos of the split.
        captioned: The captions of at least these photos. Captions of other photos are counted as left out if their
            photo is missing.
        location: The folders of the photos.
        faults: The faulty entries so far.
        file: The origin of the captions, for messages.
        source: The origin of `names`, for messages.
        noun: What `names` are, for messages.
        remedy: What to do where no photo is found.
        ids: A sample's id by the photo's name; None for the name itself.
        unknown: The number of captions of photos that the file does not list.

    Raises:
        DataError: No photo of the split exists with captions, or a photo is a link that leads out of the folder.
    """
    all_names = dict.fromkeys([*names, *captioned.texts])  # an ordered set
    listing = list_photos(
        location.photos, set(all_names), root=location.root, allow_outside=location.allow_outside
    )
    for name in all_names:
        if name in listing.outside:
            with faults:
                raise DataError(listing.outside[name])
    present = [name for name in names if name in listing.present]
    if not present:
        raise DataError(
            f"{location.photos} holds none of the {len(names)} {noun} of {source}"
            + (f" (such as {names[0]})" if names else "")
            + f"; {remedy}"
            + ("" if names else "; no photo is in this split")
            + faults.hint()
        )
    samples = tuple(
        CaptionSample(ids[name] if ids else name, tuple(texts), location.photos / name)
        for name in present
        if (texts := captioned.texts.get(name))
    )
    if not samples:
        where = f"in {location.photos}" if source == file else f"of {source}"
        raise DataError(f"{file} has no caption for any of the {len(present)} {noun} {where}{faults.hint()}")
    missing = [name for name in all_names if name not in listing.present and name not in listing.outside]
    unavailable = {*missing, *listing.outside}
    report = ReadingReport(
        images=len(samples),
        captions=sum(len(sample.captions) for sample in samples),
        missing_images=len(missing),
        dropped_captions=unknown
        + sum(len(texts) for name, texts in captioned.texts.items() if name in unavailable),
        empty_captions=sum(captioned.empty.get(name, 0) for name in captioned.texts),
        uncaptioned_images=len(present) - len(samples),
        faults=faults.count,
        messages=tuple(faults.messages),
        missing=tuple(missing[:_MAX_MISSING_NAMES]),
    )
    return samples, report
