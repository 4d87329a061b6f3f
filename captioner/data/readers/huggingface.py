"""Reader of a Hugging Face data set on disk, as `save_to_disk` writes it; needs the package `datasets`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.integrity.fingerprints import Fingerprint, fingerprint, fingerprint_of
from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.processes import cores, in_processes
from captioner.data.readers.photo_folder import check_inside, check_photo_name, existing_folder, list_photos
from captioner.data.readers.splits import (
    SplitBy,
    canonical_split,
    check_split,
    check_split_by,
    split_by_hash,
    splits_by_content,
)
from captioner.data.readers.table_rows import split_in, text_in, texts_in
from captioner.data.readers.text_files import check_text
from captioner.data.samples import CaptionSample, sample_at
from captioner.errors import DataError, ImageError, UsageError, did_you_mean
from captioner.image.decode import Photo, read_photo

_content_splits: dict[tuple[Path, str, str, bool], list[str]] = {}  # cache of this process


class HuggingFace:
    """Photos and captions of a data set of the package `datasets`, in its order.

    The photos are an `Image` column, or a column of text (paths) or binary (encoded photos). Captions are a column of
    text or of lists of texts. Each row is one photo. A data set with splits ("train", "validation", "test") keeps
    them; one without is split by a column, or by a hash of each row's id or photo.

    Args:
        root: The folder that `save_to_disk` wrote.
        split: "train", "val" or "test".
        image_column: The column of the photo. A path is relative to `root`.
        caption_column: The column of the caption, or of a list of captions.
        id_column: The column of the sample's id, text or a whole number. None: the photo's path or name where it
            has one, else the row's number.
        split_column: The column of the split's name, for a data set without splits. None: 80 % train, 10 % val,
            10 % test as `split_by` says.
        split_by: "hash" of the id, or "content": of the photo, near-identical ones together.
        on_bad: "stop" at a malformed row, or "skip" it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        report: What was found and what was left out.
        stores: The files that contain the rows.

    Raises:
        UsageError: `split`, `split_by` or `on_bad` is not known, or the package `datasets` is not installed.
        DataError: The dataset cannot be read, lacks a column or the split, or a row is malformed.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        image_column: str = "image",
        caption_column: str = "caption",
        id_column: str | None = None,
        split_column: str | None = None,
        split_by: SplitBy = "hash",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        split = check_split(split, "a Hugging Face dataset")
        check_split_by(split_by)
        faults = Faults(on_bad)
        self.root = existing_folder(root, "root of the Hugging Face dataset")
        self.image_column = image_column
        self._rows, has_splits = _open(self.root, split)
        self.stores = tuple(Path(file["filename"]) for file in self._rows.cache_files)
        for store in self.stores:
            check_inside(store, "rows of the Hugging Face dataset", None if allow_outside else self.root)
        _check_columns(self._rows, [image_column, caption_column, id_column, split_column], self.root)
        self._rows = _undecoded(self._rows, image_column)
        splits: list[str] | None = None
        if split_by == "content" and split_column is None and not has_splits:
            splits = self._splits_by_content(allow_outside)
        without_photos = self._rows.remove_columns([image_column])  # captions are read without the photos
        empty = uncaptioned = 0
        found: dict[str, tuple[int, CaptionSample]] = {}
        photos = _photos_of(self._rows, image_column, self.root)
        for number, (row, (name, embedded)) in enumerate(zip(without_photos, photos, strict=True)):
            where = f"{self.root}: row {number}" + (f" of {split}" if has_splits else "")
            with faults:
                if name is None and not embedded:
                    raise DataError(f"{where} has no photo in {image_column}")
                if name is not None and not embedded:
                    name = check_photo_name(name, where, allow_outside=allow_outside)
                sample_id = _id(row, id_column, where) if id_column else (name or f"{number:08d}")
                if splits is not None and splits[number] != split:
                    continue
                if splits is None and not has_splits:
                    own = split_in(row, split_column, where) if split_column else split_by_hash(sample_id)
                    if own != split:
                        continue
                if sample_id in found:
                    raise DataError(
                        f"{where} has the id {sample_id} of row {found[sample_id][0]}; name a column of unique ids by "
                        "id_column"
                    )
                captions = [check_text(text, where) for text in texts_in(row, caption_column, where)]
                kept_captions = tuple(caption for caption in captions if caption.strip())
                empty += len(captions) - len(kept_captions)
                uncaptioned += not kept_captions
                if kept_captions:
                    path = None if embedded or name is None else self.root / name
                    found[sample_id] = number, CaptionSample(sample_id, kept_captions, path)
        kept, missing = self._present(list(found.values()), faults, allow_outside)
        self._samples = tuple(sample for _, sample in kept)
        self._row_numbers = tuple(number for number, _ in kept)
        if not kept:
            raise DataError(
                f"{self.root} has no row with photo and caption in split {split}{faults.hint()}; name the columns by "
                "image_column, caption_column and split_column"
            )
        self.report = ReadingReport(
            images=len(kept),
            captions=sum(len(sample.captions) for sample in self._samples),
            missing_images=len(missing),
            dropped_captions=sum(len(sample.captions) for sample in missing),
            empty_captions=empty,
            uncaptioned_images=uncaptioned,
            faults=faults.count,
            messages=tuple(faults.messages),
            missing=tuple(str(sample.path) for sample in missing[:1000]),
        )

    def _splits_by_content(self, allow_outside: bool) -> list[str]:
        """The split of every row by its photo; reads all photos."""
        key = (self.root, self.image_column, self._rows._fingerprint, allow_outside)
        if key in _content_splits:  # computed for another split of the same rows
            return _content_splits[key]
        fingerprint_row = _RowFingerprint(self._rows, self.image_column, self.root, allow_outside)
        fingerprints = in_processes(fingerprint_row, range(len(self._rows)), processes=cores())
        bar = tqdm(
            fingerprints,
            total=len(self._rows),
            desc="comparing photos",
            unit="photo",
            disable=None,
            leave=False,
        )
        _content_splits[key] = splits_by_content(list(bar))
        return _content_splits[key]

    def _present(
        self, found: list[tuple[int, CaptionSample]], faults: Faults, allow_outside: bool
    ) -> tuple[list[tuple[int, CaptionSample]], list[CaptionSample]]:
        """Samples whose photo is in the row or in an existing file, and samples whose file is missing."""
        names = {sample.path: os.path.relpath(sample.path, self.root) for _, sample in found if sample.path}
        listing = list_photos(self.root, names.values(), allow_outside=allow_outside)
        kept, missing = [], []
        for number, sample in found:
            name = names[sample.path] if sample.path else None
            with faults:
                if name in listing.outside:
                    raise DataError(listing.outside[name])
                if name is None or name in listing.present:
                    kept.append((number, sample))
                else:
                    missing.append(sample)
        return kept, missing

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file, or the dataset and the row."""
        sample = self[index]
        if sample.path is not None:
            return read_photo(sample.path, min_size=min_size)
        number = self._row_numbers[index]
        data = _bytes_of(self._rows[number][self.image_column])
        try:
            if data is None:
                raise ImageError("the photo is missing")
            return read_photo(data, min_size=min_size)
        except ImageError as error:
            raise ImageError(f"{self.root}: row {number} ({sample.id}): {error}") from error


@dataclass(frozen=True, slots=True)
class _RowFingerprint:
    """The fingerprint of a row's photo; picklable for worker processes."""

    rows: Any
    column: str
    root: Path
    allow_outside: bool

    def __call__(self, number: int) -> Fingerprint:
        """The fingerprint; for a photo that is missing or may not be read, that of an empty file."""
        value = self.rows[number][self.column]
        data = _bytes_of(value)
        if data is not None:
            return fingerprint_of(data)
        name = str(value.get("path") if isinstance(value, Mapping) else value)
        listing = list_photos(self.root, [name], allow_outside=self.allow_outside)
        return fingerprint(self.root / name) if listing.present else fingerprint_of(b"")


def _open(root: Path, split: str) -> tuple[Any, bool]:
    """The rows of the split, or all rows of a dataset without splits; and whether it has splits."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "data=huggingface needs the package datasets; install it by: pip install 'captioner[datasets]'"
        ) from error
    datasets.disable_progress_bars()
    try:
        content = datasets.load_from_disk(str(root))
    except Exception as error:  # Arrow, JSON and the package itself have errors of many kinds
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{root} is not a readable Hugging Face dataset ({reason}); write it by save_to_disk"
        ) from error
    if not isinstance(content, Mapping):
        return content, False
    for name, rows in content.items():
        if canonical_split(name) == split:
            return rows, True
    raise DataError(
        f"{root} has no split {split}; there are {', '.join(content)}{did_you_mean(split, content)}"
    )


def _check_columns(rows: Any, columns: list[str | None], root: Path) -> None:
    for column in columns:
        if column is not None and column not in rows.column_names:
            raise DataError(
                f"{root} has no column {column!r}; there are {', '.join(rows.column_names)}: choose by image_column, "
                f"caption_column, id_column and split_column{did_you_mean(column, rows.column_names)}"
            )


def _undecoded(rows: Any, column: str) -> Any:
    """The rows with an `Image` column as {bytes, path}: `read_photo` decodes, with its checks."""
    import datasets

    if isinstance(rows.features[column], datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _photos_of(rows: Any, column: str, root: Path) -> Iterator[tuple[str | None, bool]]:
    """For each row the photo's path or name, if it has one, and whether the row contains the photo itself."""
    from pyarrow import compute, types

    for table in rows.with_format("arrow").iter(batch_size=1000):
        values = table.column(column)
        kind = values.type
        if types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} >= {
            "bytes",
            "path",
        }:
            names = compute.struct_field(values, "path").to_pylist()
            embedded = compute.is_valid(compute.struct_field(values, "bytes")).to_pylist()
            yield from zip(names, embedded, strict=True)
        elif types.is_string(kind) or types.is_large_string(kind):
            yield from ((name, False) for name in values.to_pylist())
        elif types.is_binary(kind) or types.is_large_binary(kind):
            yield from ((None, True) for _ in range(len(values)))
        else:
            raise DataError(f"{root}: column {column} contains {kind}; a photo is an Image, a path or bytes")


def _id(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    return str(value) if type(value) is int else check_text(text_in(row, column, where), where)


def _bytes_of(value: Any) -> bytes | None:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return data if isinstance(data, bytes) else None
