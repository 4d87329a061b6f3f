"""How is Flickr8k read, as its authors ship it or as the CSV on Kaggle? (Hodosh et al. 2013)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from captioner.data.photo_folder import check_photo_name, existing_folder, first_existing, present, read_text
from captioner.data.report import ReadingReport
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.data.splits import share
from captioner.errors import DataError, UsageError
from captioner.image.decode import Photo

SplitBy = Literal["lists", "hash"]

_SPLIT_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_CAPTION_FILES = ("Flickr8k.token.txt", "captions.txt")
_TEXT_FOLDERS = ("", "Flickr8k_text")
# "Flicker" is how the authors spell it.
_IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_CSV_HEADER = ["image", "caption"]


class Flickr8k:
    """One split of Flickr8k, in the order of its split list; five captions a photo.

    The captions are a token file, lines of `name.jpg#k<TAB>caption`, or a CSV that begins with the line
    `image,caption`. Captions whose photo is missing and listed photos that are missing are left out and
    counted. Flickr30k's token file can be read too, given `captions` and `split_file`.

    Args:
        root: The folder with everything.
        split: `"train"`, `"val"` or `"test"`; `"dev"` is `"val"`.
        captions: The caption file, relative to `root`. By default `Flickr8k.token.txt` or `captions.txt`, in
            `root` or its sub-folder `Flickr8k_text`.
        images: The folder of photos, relative to `root`. By default `images`, `Images`, `Flicker8k_Dataset`
            or `Flickr8k_Dataset`.
        split_file: The list of this split's photos, one name a line, relative to `root`. By default the
            official one, such as `Flickr_8k.trainImages.txt`, in `root`, `Flickr8k_text` or beside the
            captions.
        split_by: `"lists"`, or `"hash"` for the CSV that comes without lists: 80 % train, 10 % val, 10 % test
            by a hash of the name, the same on every machine. It is not the official split: no score on it
            compares with a published one.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split` or `split_by` is not known, or a list is given together with `split_by="hash"`.
        DataError: A file or folder is missing or malformed, or no photo of the split is there with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        captions: str | None = None,
        images: str | None = None,
        split_file: str | None = None,
        split_by: SplitBy = "lists",
    ) -> None:
        split = "val" if split == "dev" else split
        if split not in _SPLIT_LISTS:
            raise UsageError(f"Flickr8k has no split {split!r}; choose one of {', '.join(_SPLIT_LISTS)}")
        if split_by not in get_args(SplitBy):
            raise UsageError(f"split_by={split_by!r} is not known; choose {' or '.join(get_args(SplitBy))}")
        if split_by == "hash" and split_file is not None:
            raise UsageError(f"split_by=hash takes no split_file={split_file}; leave one of them out")
        base = existing_folder(root, "root of Flickr8k")
        caption_file = _find(base, _TEXT_FOLDERS, captions, _CAPTION_FILES, "captions")
        photos = existing_folder(_find(base, ("",), images, _IMAGE_FOLDERS, "images"), "photos of Flickr8k")
        texts_of, empty = _read_captions(caption_file)
        if split_by == "hash":
            source = f"the {split} share of {caption_file}"
            names = [name for name in texts_of if share(name) == split]
        else:
            places = (*_TEXT_FOLDERS, caption_file.parent.absolute())
            list_file = _find(base, places, split_file, [_SPLIT_LISTS[split]], "split_file")
            source = str(list_file)
            names = _read_names(list_file)
        there = present(photos, {*names, *texts_of})
        found = [name for name in names if name in there]
        if not found:
            raise DataError(
                f"{photos} holds none of the {len(names)} photos of {source}"
                + (f" (such as {names[0]})" if names else "")
                + "; set images to the folder that does"
            )
        self._samples = tuple(
            CaptionSample(name, tuple(texts_of[name]), photos / name) for name in found if texts_of.get(name)
        )
        if not self._samples:
            raise DataError(f"{caption_file} has no caption for any of the {len(found)} photos of {source}")
        self.report = ReadingReport(
            images=len(self._samples),
            captions=sum(len(sample.captions) for sample in self._samples),
            missing_images=len({*names, *texts_of} - there),
            dropped_captions=sum(len(texts) for name, texts in texts_of.items() if name not in there),
            empty_captions=empty,
            uncaptioned_images=len(found) - len(self._samples),
        )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        return photo_of(self[index], min_size)


def _find(
    base: Path, places: Sequence[Path | str], given: str | None, usual: Sequence[str], option: str
) -> Path:
    """The file or folder that was given, or else the first of the usual ones."""
    names = usual if given is None else [given]
    remedy = f"name it by {option}"
    if option == "split_file":
        remedy += ", or without lists ask for split_by=hash"
    candidates = [base / place / name for name in names for place in places]
    return first_existing(candidates, what=f"{option} of Flickr8k", remedy=remedy)


def _read_captions(path: Path) -> tuple[dict[str, list[str]], int]:
    """Captions by photo name in the order of the file, and the number of empty ones."""
    text = read_text(path)
    first, _, _ = text.partition("\n")
    lines = _csv_rows(path, text) if first.strip().split(",") == _CSV_HEADER else _token_rows(path, text)
    texts_of: dict[str, list[str]] = {}
    empty = 0
    for number, name, caption in lines:
        if name not in texts_of:
            texts_of[check_photo_name(name, f"{path}:{number}")] = []
        if caption.strip():
            texts_of[name].append(caption)
        else:
            empty += 1
    return texts_of, empty


def _token_rows(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, name and caption of each line of a token file."""
    # Not splitlines(): a caption may hold U+2028 or a form feed, which would count as line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, tab, caption = line.rstrip("\r").partition("\t")
        name, mark, _ = key.rpartition("#")
        if not (tab and mark and name):
            raise DataError(f"{path}:{number}: expected name.jpg#0<TAB>caption, found {line[:60]!r}")
        yield number, name, caption


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, name and caption of each row after the header."""
    rows = csv.reader(io.StringIO(text), strict=True)
    try:
        next(rows)
        for row in rows:
            if not row:
                continue
            if len(row) != 2:
                raise DataError(
                    f"{path}:{rows.line_num}: expected image,caption, found {len(row)} columns; "
                    "put captions that hold commas in double quotes"
                )
            yield rows.line_num, row[0], row[1]
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: malformed CSV: {error}") from error


def _read_names(path: Path) -> list[str]:
    """The photo names of a split list, each once, in the order of the list."""
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    return list(dict.fromkeys(check_photo_name(line, f"{path}:{number}") for number, line in lines if line))
