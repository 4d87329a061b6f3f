"""Text files of captions: decoding, validation and lines, with messages that name the file and the line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from captioner.data.integrity.faults import Faults
from captioner.errors import DataError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, *, faults: Faults | None = None) -> str:
    """The text of a UTF-8 file, with or without byte order mark. Line ends stay as they are.

    Args:
        path: The file.
        faults: If given and set to skip, bytes that are not UTF-8 are decoded to lone surrogates; `check_text`
            refuses the entries that contain one.

    Raises:
        DataError: The file cannot be read, or is not UTF-8: names the first bad byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if data.startswith(_UTF16):
        raise DataError(f"{path} is not UTF-8 but UTF-16 (Excel's Unicode text); save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if faults is not None and faults.skip:
            return data.decode("utf-8-sig", errors="surrogateescape")
        offset = error.start + len(data) - len(error.object)  # the byte order mark is not counted
        line = data.count(b"\n", 0, offset) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[offset]:02x} at offset {offset}; save the file as UTF-8 "
            f"(the byte is in line {line})"
        ) from error


def check_text(text: str, where: str) -> str:
    """The text, if all of it is valid Unicode.

    Raises:
        DataError: It contains a byte that was not UTF-8, or half a surrogate pair written as an escape.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            raise DataError(
                f"{where} is not UTF-8: byte 0x{code - 0xDC00:02x}; save the file as UTF-8"
            ) from error
        raise DataError(f"{where} is not valid Unicode: {text!r} contains half a surrogate pair") from error
    return text


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not blank."""
    # Not splitlines(): a caption may contain U+2028 or a form feed, which would count as line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")
