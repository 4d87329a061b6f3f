"""How are captions read from a table? CSV, TSV or JSON lines, with columns of any name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from captioner.data.photo_folder import check_photo_name, existing_folder, first_existing, present, read_text
from captioner.data.report import ReadingReport
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.data.splits import share
from captioner.errors import DataError, UsageError
from captioner.image.decode import Photo

_SPLITS = ("train", "val", "test")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


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
        split_column: Holds the split's name. None: 80 % train, 10 % val, 10 % test by a hash of the photo's name.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split` is not known.
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
    ) -> None:
        if split not in _SPLITS:
            raise UsageError(f"a table has no split {split!r}; choose one of {', '.join(_SPLITS)}")
        base = existing_folder(root, "root of the table")
        table = first_existing([base / captions], what="the table", remedy="name it by captions")
        photos = existing_folder(base / images, "photos of the table")
        texts_of: dict[str, list[str]] = {}
        empty = 0
        for where, row in _rows(table):
            name = check_photo_name(_text(row, image_column, where), where)
            own = share(name) if split_column is None else _text(row, split_column, where)
            if own not in _SPLITS:
                raise DataError(f"{where}: {split_column} is {own!r}; a split is {', '.join(_SPLITS)}")
            if own != split:
                continue
            texts = texts_of.setdefault(name, [])
            for caption in _captions(row, caption_column, where):
                if caption.strip():
                    texts.append(caption)
                else:
                    empty += 1
        there = present(photos, texts_of)
        if not there:
            example = f" (such as {next(iter(texts_of))})" if texts_of else ""
            raise DataError(
                f"{photos} holds none of the {len(texts_of)} {split} photos of {table}{example}; "
                "set images to the folder that does, or split_column to the column that tells the split"
            )
        self._samples = tuple(
            CaptionSample(name, tuple(texts), photos / name)
            for name, texts in texts_of.items()
            if name in there and texts
        )
        if not self._samples:
            raise DataError(f"{table} has no caption for any of the {len(there)} {split} photos in {photos}")
        self.report = ReadingReport(
            images=len(self._samples),
            captions=sum(len(sample.captions) for sample in self._samples),
            missing_images=len(texts_of) - len(there),
            dropped_captions=sum(len(texts) for name, texts in texts_of.items() if name not in there),
            empty_captions=empty,
            uncaptioned_images=len(there) - len(self._samples),
        )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        return photo_of(self[index], min_size)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row by column, with its file and line."""
    kind = path.suffix.lower()
    if kind == ".jsonl":
        yield from _json_rows(path)
    elif kind in _SEPARATORS:
        yield from _separated_rows(path, _SEPARATORS[kind])
    else:
        raise DataError(f"{path} is no table: its name must end in .csv, .tsv or .jsonl")


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Not splitlines(): a caption may hold U+2028, which would count as a line end.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error}); write one object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON {type(row).__name__}, not an object")
        yield f"{path}:{number}", row


def _separated_rows(path: Path, separator: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    try:
        header = next(rows, [])
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}:{rows.line_num}: {len(row)} columns, and {len(header)} in the header; "
                    "put what holds the separator in double quotes"
                )
            yield f"{path}:{rows.line_num}", dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: malformed table: {error}") from error


def _captions(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    value = row.get(column)
    if isinstance(value, list) and all(isinstance(caption, str) for caption in value):
        return value
    return [_text(row, column, where)]


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise DataError(f"{where}: no column {column!r}; there are {', '.join(map(str, row))}")
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: {column} is {value!r}, not a text")
    return value
