"""Line numbers of the entries of lists in a JSON file, computed only for error messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

from captioner.data.readers.text_files import read_text
from captioner.errors import DataError

_BLANK = re.compile(r"[ \t\n\r]*")


class EntryLines:
    """Adds the line to messages that name an entry: `FILE: images[3]` becomes `FILE:17: images[3]`.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entry = re.compile(re.escape(str(path)) + r": (\w+)\[(\d+)\]")
        self._lines: dict[str, list[int]] = {}

    def __call__(self, message: str) -> str:
        """The message with the line of each entry that it names, where the entry is found."""
        return self._entry.sub(self._with_line, message)

    def _with_line(self, entry: re.Match[str]) -> str:
        key, number = entry[1], int(entry[2])
        if key not in self._lines:
            try:
                self._lines[key] = entry_lines(read_text(self.path), key)
            except (DataError, ValueError, RecursionError):  # the file has changed since it was read
                self._lines[key] = []
        lines = self._lines[key]
        return f"{self.path}:{lines[number]}: {key}[{number}]" if number < len(lines) else entry[0]


def entry_lines(text: str, key: str) -> list[int]:
    """The line, from 1, in which each entry of the list under `key` begins, in the JSON of an object.

    Raises:
        ValueError: The text is not JSON.
    """
    decode = json.JSONDecoder().raw_decode
    lines: list[int] = []
    at = _next(text, _next(text, 0) + 1)  # after the brace
    while text[at] == '"':
        name, at = decode(text, at)
        at = _next(text, _next(text, at) + 1)  # after the colon
        if name == key and text[at] == "[":
            lines = []  # of two keys with the same name JSON keeps the last
            line, counted = 1, 0
            at = _next(text, at + 1)
            while text[at] != "]":
                line += text.count("\n", counted, at)
                counted = at
                lines.append(line)
                _, at = decode(text, at)
                at = _next(text, at)
                if text[at] == ",":
                    at = _next(text, at + 1)
            at += 1
        else:
            _, at = decode(text, at)
        at = _next(text, at)
        if text[at] == ",":
            at = _next(text, at + 1)
    return lines


def _next(text: str, at: int) -> int:
    """The index of the next character that is not white space."""
    blank = _BLANK.match(text, at)
    end = blank.end() if blank else at
    if end >= len(text):
        raise ValueError("unexpected end of text")
    return end
