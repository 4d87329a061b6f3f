"""Rows of CSV, TSV and JSON-lines tables, each with its file and line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.data.integrity.faults import Faults
from captioner.data.readers.splits import SPLITS, canonical_split
from captioner.data.readers.text_files import check_text, lines_of, read_text
from captioner.errors import DataError, did_you_mean

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def table_rows(path: Path, columns: Sequence[str], faults: Faults) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row by column, with its file and line.

    Args:
        path: A file that ends in .csv, .tsv or .jsonl.
        columns: The required columns.
        faults: Stops at a malformed row, or skips it.

    Raises:
        DataError: The file is not a table or lacks a column, or a row is malformed.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        yield from _json_rows(path, faults)
    elif kind in _SEPARATORS:
        yield from separated_rows(path, _SEPARATORS[kind], columns, faults)
    else:
        raise DataError(f"{path} is not a table: its name must end in .csv, .tsv or .jsonl")


def separated_rows(
    path: Path, separator: str, columns: Sequence[str], faults: Faults
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each row of a file whose first line names the columns. Arguments and errors as in `table_rows`."""
    records = _Records(read_text(path, faults=faults), separator)
    header: list[str] | None = None
    while True:
        row: list[str] | None = []
        with faults:
            where = f"{path}:{records.line}"
            row = records.next(where)
            if row and header is not None:
                if len(row) != len(header):
                    records.retry()
                    raise DataError(
                        f"{where}: {len(row)} columns, and {len(header)} in the header; "
                        "put cells that contain the separator in double quotes"
                    )
                yield where, {key: check_text(value, where) for key, value in zip(header, row, strict=True)}
        if row is None:
            return
        if row and header is None:
            header = _header(row, columns, where)


class _Records:
    """The records of a separated text, each with the line in which it begins.

    An unclosed quote makes the following lines part of its record. After a malformed record, reading therefore
    continues on the line after the record's first: one stray quote costs one record.

    Attributes:
        line: The line in which the next record begins, from 1.
    """

    def __init__(self, text: str, separator: str) -> None:
        self._stream = io.StringIO(text, newline="")
        self._separator = separator
        self._rows = self._reader()
        self._begin = 0  # start of the last record, in characters
        self._first = self.line = 1

    def _reader(self) -> Any:
        return csv.reader(self._stream, delimiter=self._separator, strict=True)

    def next(self, where: str) -> list[str] | None:
        """The next record, or None at the end; a blank line is an empty one.

        Raises:
            DataError: It is malformed. Reading continues on the line after its first.
        """
        self._begin, self._first = self._stream.tell(), self.line
        before = self._rows.line_num
        try:
            row: list[str] | None = next(self._rows, None)
        except csv.Error as error:
            taken = self._rows.line_num - before
            ends = f" (it spans {taken:,} lines from there on)" if taken > 1 else ""
            self.retry()
            raise DataError(
                f"{where}: malformed table: {error}{ends}; write a quote within a text twice, and close "
                "every quote"
            ) from error
        self.line += self._rows.line_num - before
        return row

    def retry(self) -> None:
        """Go back to the line after the first of the last record."""
        self._stream.seek(self._begin)
        self._stream.readline()
        self._rows, self.line = self._reader(), self._first + 1


def _header(row: Sequence[str], columns: Sequence[str], where: str) -> list[str]:
    names = [name.strip() for name in row]
    for column in columns:
        if column not in names:
            raise DataError(
                f"{where}: no column {column!r}; there are {', '.join(names)}{did_you_mean(column, names)}"
            )
        if names.count(column) > 1:
            raise DataError(f"{where}: two columns are called {column!r}; rename one")
    return names


def _json_rows(path: Path, faults: Faults) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in lines_of(read_text(path, faults=faults)):
        where = f"{path}:{number}"
        row: Any = None
        with faults:
            check_text(line, where)
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: not JSON ({error}); write one object a line") from error
            if not isinstance(row, dict):
                raise DataError(f"{where}: a JSON {type(row).__name__}, not an object")
            yield where, row


def text_in(row: Mapping[str, Any], column: str, where: str) -> str:
    """The text in a column.

    Raises:
        DataError: The column is missing, or its value is not a text.
    """
    if column not in row:
        raise DataError(
            f"{where}: no column {column!r}; there are {', '.join(map(str, row))}{did_you_mean(column, map(str, row))}"
        )
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: {column} is {value!r}, not a text")
    return value


def texts_in(row: Mapping[str, Any], column: str, where: str) -> tuple[str, ...]:
    """The text in a column, or the texts of a list. Raises as `text_in`."""
    value = row.get(column)
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(value)
    return (text_in(row, column, where),)


def split_in(row: Mapping[str, Any], column: str, where: str) -> str:
    """The split that a column names: "train", "val" or "test".

    Raises:
        DataError: As `text_in`, or the split is not known.
    """
    split = canonical_split(text_in(row, column, where).strip())
    if split not in SPLITS:
        raise DataError(
            f"{where}: {column} is {split!r}; a split is {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}"
        )
    return split
