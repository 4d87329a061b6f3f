"""Reader of captions in a table: CSV, TSV or JSON lines, with columns of any name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.caption_rows import CaptionRow, PhotoLocation, build_samples, group_by_photo
from captioner.data.readers.file_dataset import FileDataset
from captioner.data.readers.photo_folder import existing_folder, first_existing
from captioner.data.readers.splits import SplitBy, check_split, check_split_by, split_members
from captioner.data.readers.table_rows import split_in, table_rows, text_in, texts_in


class Table(FileDataset):
    """Photos and captions of one table, in the order in which it first names each photo.

    A row contains a photo's name and a caption; several rows of one photo give it several captions. In JSON lines a
    caption may also be a list of captions. A sample's id is the photo's name.

    Args:
        root: The root folder.
        split: "train", "val" or "test".
        captions: The table, relative to `root`: `.csv`, `.tsv` or `.jsonl`.
        images: The folder of photos, relative to `root`.
        image_column: The column of the photo's name, relative to `images`.
        caption_column: The column of the caption.
        split_column: The column of the split's name. None: 80 % train, 10 % val, 10 % test as `split_by` says.
        split_by: "hash" of the photo's name, or "content": of the photo, near-identical ones together.
        on_bad: "stop" at a malformed row, or "skip" it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split`, `split_by` or `on_bad` is not known.
        DataError: A file, folder, column or row is missing or malformed, or no photo of the split exists.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        captions: str = "captions.csv",
        images: str = "images",
        image_column: str = "image",
        caption_column: str = "caption",
        split_column: str | None = None,
        split_by: SplitBy = "hash",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        split = check_split(split, "a table")
        check_split_by(split_by)
        faults = Faults(on_bad)
        base = existing_folder(root, "root of the table")
        home = None if allow_outside else base
        table = first_existing([base / captions], what="the table", remedy="name it by captions", home=home)
        photos = existing_folder(base / images, "photos of the table", home=home)
        location = PhotoLocation(base, photos, allow_outside)
        rows = _rows(table, image_column, caption_column, split_column, faults)
        captioned = group_by_photo(rows, faults, allow_outside=allow_outside)
        names = list(captioned.texts)
        if split_column is None:
            names = split_members(names, split, by=split_by, photos=photos)
        else:
            names = [name for name in names if captioned.splits[name] == split]
        samples, report = build_samples(
            names,
            captioned.only(names),
            location,
            faults,
            file=table,
            source=table,
            noun=f"{split} photos",
            remedy="set images to the folder that does, or split_column to the column that names the split",
        )
        super().__init__(samples, report)


def _rows(
    table: Path, image_column: str, caption_column: str, split_column: str | None, faults: Faults
) -> Iterator[CaptionRow]:
    needed = [image_column, caption_column, *([split_column] if split_column else [])]
    for where, row in table_rows(table, needed, faults):
        with faults:
            split = None
            if split_column:
                split = split_in(row, split_column, where)
            yield CaptionRow(
                where, text_in(row, image_column, where), texts_in(row, caption_column, where), split
            )
