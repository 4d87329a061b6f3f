"""JSON files in COCO's layout, with error messages that name the file and the entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioner.data.integrity.faults import Faults
from captioner.data.readers.entry_lines import EntryLines
from captioner.data.readers.text_files import read_text
from captioner.errors import DataError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: The file cannot be read, is not JSON (names line and column), or is not an object.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        hint = "the file is truncated" if error.pos >= len(text.rstrip()) else "copy or write the file again"
        raise DataError(f"{where}: not JSON ({error.msg}); {hint}") from error
    except (RecursionError, ValueError) as error:  # 100,000 brackets, or a number of 5,000 digits
        raise DataError(f"{path} is not a COCO file: {error}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a JSON {type(content).__name__}, not an object with images and annotations"
        )
    return content


def entries_of(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects under `key`.

    Raises:
        DataError: It is missing, is not a list, or contains something else.
    """
    return [entry for _, entry in numbered_entries(content, key, path, Faults("stop"))]


def numbered_entries(
    content: dict[str, Any], key: str, path: Path, faults: Faults
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of the list under `key`, with its file and index; `faults` adds the line.

    Raises:
        DataError: The list is missing, or an entry is not an object, unless `faults` skips it.
    """
    entries = content.get(key)
    faults.add_location = EntryLines(path)
    if not isinstance(entries, list):
        raise DataError(f"{path} has no list {key!r}; a COCO captions file has 'images' and 'annotations'")
    for number, entry in enumerate(entries):
        where = f"{path}: {key}[{number}]"
        with faults:
            if not isinstance(entry, dict):
                raise DataError(f"{where} is not an object")
            yield where, entry


def id_of(entry: dict[str, Any], key: str, where: str) -> str:
    """An id as text: a whole number and the same digits in quotes are equal.

    Raises:
        DataError: It is neither.
    """
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"{where}.{key} is {value!r}; an id is a whole number or a text")
    return str(value)
