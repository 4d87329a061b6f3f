"""Reader of a folder of photos with captions beside them: `beach.jpg` and `beach.txt`, one caption a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.caption_rows import CaptionRow, PhotoLocation, build_samples, group_by_photo
from captioner.data.readers.file_dataset import FileDataset
from captioner.data.readers.photo_folder import check_inside, existing_folder, list_photos
from captioner.data.readers.splits import check_split, check_split_by, read_names, split_members
from captioner.data.readers.text_files import lines_of, read_text
from captioner.errors import DataError, UsageError
from captioner.image.find import find_photos

SplitBy = Literal["folders", "lists", "hash", "content"]

_CAPTIONS = ".txt"


class CaptionedFolder(FileDataset):
    """Photos below a folder, each with a text file of the same name beside it, in natural order (2.jpg before 10.jpg).

    Photos without a text file are left out and counted. A sample's id is the photo's path below the folder.

    Args:
        root: The root folder.
        split: "train", "val" or "test".
        images: The folder of photos and their captions, relative to `root`.
        split_by: "folders": a photo in `train/`, `val/` or `test/` below `images` belongs there; "lists": `train.txt`,
            `val.txt` and `test.txt` in `root`, a name a line; or 80 % train, 10 % val, 10 % test by "hash" of the name
            or by "content" of the photo, near-identical ones together.
        on_bad: "stop" at a malformed text file, or "skip" it.
        allow_outside: Whether links out of `root` are followed.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split`, `split_by` or `on_bad` is not known.
        DataError: A folder or list is missing, a text file is malformed, or the split has no photo with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        images: str = ".",
        split_by: SplitBy = "hash",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        split = check_split(split, "a folder of photos")
        check_split_by(split_by, get_args(SplitBy))
        faults = Faults(on_bad)
        base = existing_folder(root, "root of the photos")
        home = None if allow_outside else base
        location = PhotoLocation(
            base, existing_folder(base / images, "folder of photos", home=home), allow_outside
        )
        photos = _photos(location.photos)
        if split_by == "lists":
            names = read_names(
                check_inside(base / f"{split}{_CAPTIONS}", "list of photos", home),
                faults,
                allow_outside=allow_outside,
            )
        elif split_by == "folders":
            names = [name for name in photos if PurePosixPath(name).parts[0] == split]
        else:
            names = split_members(photos, split, by=split_by, photos=location.photos)
        captioned = group_by_photo(
            _rows(names, photos, location, faults), faults, allow_outside=allow_outside
        )
        samples, report = build_samples(
            names,
            captioned,
            location,
            faults,
            file=location.photos,
            source=location.photos,
            noun=f"{split} photos",
            remedy=f"set images to the folder that does, or split_by to another of {', '.join(get_args(SplitBy))}",
        )
        super().__init__(samples, report)


def _photos(folder: Path) -> list[str]:
    """Every photo below the folder, relative to it, in natural order."""
    try:
        paths = find_photos(str(folder))
    except UsageError as error:
        raise DataError(str(error)) from error
    return [path.relative_to(folder).as_posix() for path in paths]


def _rows(
    names: list[str], photos: list[str], location: PhotoLocation, faults: Faults
) -> Iterator[CaptionRow]:
    """A row for each photo of the split that has a text file."""
    stems: dict[str, list[str]] = {}
    for name in photos:
        stems.setdefault(_text_name(name), []).append(name)
    listing = list_photos(
        location.photos, map(_text_name, names), root=location.root, allow_outside=location.allow_outside
    )
    for name in names:
        text_name = _text_name(name)
        with faults:
            if text_name in listing.outside:
                raise DataError(listing.outside[text_name])
            if text_name not in listing.present:
                continue
            path = location.photos / text_name
            if len(same := stems.get(text_name, [])) > 1:
                raise DataError(
                    f"{path}: {' and '.join(same)} share this name; give each photo a name of its own"
                )
            captions = tuple(line.strip() for _, line in lines_of(read_text(path)))
            yield CaptionRow(str(path), name, captions)


def _text_name(photo: str) -> str:
    return PurePosixPath(photo).with_suffix(_CAPTIONS).as_posix()
