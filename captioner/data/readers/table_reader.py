"""How are captions read from a table? CSV, TSV or JSON lines, with columns of any name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.captioned import Place, Row, gather, samples_of
from captioner.data.readers.photo_folder import existing_folder, first_existing
from captioner.data.readers.splits import SPLITS, SplitBy, check_split, check_split_by, members, usual_name
from captioner.data.readers.table_rows import table_rows, text_in, texts_in
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.errors import DataError
from captioner.image.decode import Photo


class Table:
    """Photos and captions of one table, in the order in which it first names each photo.

    A row holds a photo's name and a caption; several rows of one photo give it several captions. In JSON lines a
    caption may also be a list of captions. A sample's id is the photo's name.

    Args:
        root: The folder with everything.
        split: "train", "val" or "test".
        captions: The table, relative to `root`: `.csv`, `.tsv` or `.jsonl`.
        images: The folder of photos, relative to `root`.
        image_column: Holds the photo's name, relative to `images`.
        caption_column: Holds the caption.
        split_column: Holds the split's name. None: 80 % train, 10 % val, 10 % test as `split_by` says.
        split_by: "hash" of the photo's name, or "content": of the photo, near-identical ones together.
        on_bad: "stop" at a row that is wrong, or "skip" it.
        allow_outside: Read what lies outside `root` too.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split` or `split_by` is not known.
        DataError: A file, folder, column or row is missing or malformed, or no photo of the split is there.
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
        place = Place(base, photos, allow_outside)
        rows = _rows(table, image_column, caption_column, split_column, faults)
        captioned = gather(rows, faults, allow_outside=allow_outside)
        names = list(captioned.texts)
        if split_column is None:
            names = members(names, split, by=split_by, photos=place.photos)
        else:
            names = [name for name in names if captioned.splits[name] == split]
        self._samples, self.report = samples_of(
            names,
            captioned.only(names),
            place,
            faults,
            file=table,
            source=table,
            noun=f"{split} photos",
            remedy="set images to the folder that does, or split_column to the column that tells the split",
        )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        return photo_of(self[index], min_size)


def _rows(
    table: Path, image_column: str, caption_column: str, split_column: str | None, faults: Faults
) -> Iterator[Row]:
    needed = [image_column, caption_column, *([split_column] if split_column else [])]
    for where, row in table_rows(table, needed, faults):
        with faults:
            split = None
            if split_column:
                split = usual_name(text_in(row, split_column, where).strip())
                if split not in SPLITS:
                    raise DataError(f"{where}: {split_column} is {split!r}; a split is {', '.join(SPLITS)}")
            yield Row(where, text_in(row, image_column, where), texts_in(row, caption_column, where), split)
