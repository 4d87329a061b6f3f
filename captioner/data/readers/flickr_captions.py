"""Caption files of Flickr8k and Flickr30k: the authors' token file and the CSVs on Kaggle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from captioner.data.integrity.faults import Faults
from captioner.data.readers.caption_rows import CaptionRow
from captioner.data.readers.table_rows import separated_rows
from captioner.data.readers.text_files import lines_of, read_text
from captioner.errors import DataError

_CSV_COLUMNS = ("image", "caption")
# Flickr30k's CSV on Kaggle lacks the second bar in one row: `2199200615.jpg| 4   A dog runs across the grass .`
_BARRED = re.compile(r"([^|]+)\|\s*\d+\s*(?:\||\s)(.*)", re.DOTALL)


def flickr_rows(path: Path, faults: Faults) -> Iterator[CaptionRow]:
    """A row for each caption of a file.

    A file whose first line is `image,caption` is a CSV; one whose first line begins with `image_name|` has its columns
    between bars; any other is a token file, lines of `name.jpg#0<TAB>caption`.

    Raises:
        DataError: The file cannot be read, or a line is malformed.
    """
    first = next(lines_of(read_text(path, faults=faults)), (1, ""))[1]
    if tuple(name.strip() for name in first.split(",")) == _CSV_COLUMNS:
        for where, row in separated_rows(path, ",", _CSV_COLUMNS, faults):
            yield CaptionRow(where, row["image"], (row["caption"],))
    elif first.partition("|")[0].strip() in ("image", "image_name"):
        yield from _barred(path, faults)
    else:
        yield from _tokens(path, faults)


def _tokens(path: Path, faults: Faults) -> Iterator[CaptionRow]:
    for number, line in lines_of(read_text(path, faults=faults)):
        with faults:
            key, tab, caption = line.partition("\t")
            name, mark, _ = key.rpartition("#")
            if not (tab and mark and name):
                raise DataError(f"{path}:{number}: expected name.jpg#0<TAB>caption, found {line[:60]!r}")
            yield CaptionRow(f"{path}:{number}", name, (caption,))


def _barred(path: Path, faults: Faults) -> Iterator[CaptionRow]:
    for number, line in list(lines_of(read_text(path, faults=faults)))[1:]:
        with faults:
            match = _BARRED.fullmatch(line)
            if not match:
                raise DataError(f"{path}:{number}: expected name.jpg| 0| caption, found {line[:60]!r}")
            yield CaptionRow(f"{path}:{number}", match[1].strip(), (match[2].strip(),))
