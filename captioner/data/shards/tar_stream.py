"""Sequential reader of tar files that reports every fault.

Concatenated tars, as `cat a.tar b.tar` makes them, are read to the end.

Python's `tarfile` ends silently at a truncated or damaged header and stores every member in memory; only its parsing of
a header is used. Members are never written to disk.

Source: POSIX.1-1988 (ustar) and POSIX.1-2001 (pax), with GNU long names.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from captioner.errors import DataError

BLOCK = 512
_MAX_NAME = 65_536  # bytes of a long name or a pax header; a longer one is an attack
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file within a tar.

    Attributes:
        name: Its path within the tar, as written there.
        offset: Start of its content, in bytes from the start of the tar.
        size: Size of its content in bytes.
        content: The bytes, or None if not requested.
        archive: Index, among concatenated tars, of the one that contains it.
    """

    name: str
    offset: int
    size: int
    content: bytes | None
    archive: int = 0


def read_members(
    stream: IO[bytes], tar: str, *, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Member]:
    """The regular files of a tar, in its order; folders and links are skipped.

    Args:
        stream: At the start of the tar. Other contents are skipped by seeking if the stream can seek.
        tar: The tar's name, for messages.
        wanted: Whether the content of the member with this name is read.

    Raises:
        DataError: The tar is truncated or damaged; names it, the member, and the byte.
    """
    reader = _Reader(stream, tar)
    name, size = None, None  # of the next member, from an extended header
    while (header := reader.header(required=name is not None or size is not None)) is not None:
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            text = reader.content(header, most=_MAX_NAME)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = _text(text.rstrip(b"\0"))
            else:
                records = _pax(text)
                name = _text(records[b"path"]) if b"path" in records else name
                size = int(records[b"size"]) if records.get(b"size", b"").isdigit() else size
            continue
        if header.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            reader.skip(header)
            continue
        if name is not None:
            header.name = reader.last = name
        if size is not None:
            header.size = size
        name, size = None, None
        if not header.isreg():
            continue  # no content
        offset = reader.at
        content = None
        if wanted(header.name):
            content = reader.content(header)
        else:
            reader.skip(header)
        yield Member(header.name, offset, header.size, content, reader.archive)


class _Reader:
    """Reads the blocks of a tar and counts the bytes read."""

    def __init__(self, stream: IO[bytes], tar: str) -> None:
        self.stream = stream
        self.tar = tar
        self.at = 0
        self.last = ""
        self.archive = 0
        self.end = os.fstat(stream.fileno()).st_size if stream.seekable() else None

    def header(self, *, required: bool = False) -> tarfile.TarInfo | None:
        """The next header, or None at the end of the last archive; an error if `required`, after an extended header."""
        block = self.stream.read(BLOCK)
        zeros = 0
        while len(block) == BLOCK and not block.strip(b"\0"):
            zeros += 1
            self.at += BLOCK
            block = self.stream.read(BLOCK)
        if zeros and not block.strip(b"\0") and not required:
            return None
        after = f"after member {self.last!r}" if self.last else "at its start"
        if zeros == 1 or (zeros and required):  # an archive ends with two
            raise DataError(
                f"{self.tar} is damaged {after}: zeros in place of a header at byte {self.at - zeros * BLOCK:,}; "
                "copy it again"
            )
        if len(block) < BLOCK:
            what = "is empty (0 bytes)" if not block and self.at == 0 else f"is truncated {after}"
            raise DataError(f"{self.tar} {what} (byte {self.at + len(block):,}); copy it again")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            if self.at == 0:
                packed = block.startswith(b"\x1f\x8b")
                remedy = "read it by 'pipe:gzip -dc FILE'" if packed else "copy or create it again"
                kind = "compressed by gzip" if packed else "not a tar file"
                raise DataError(f"{self.tar} is {kind}; {remedy}") from error
            raise DataError(
                f"{self.tar} is damaged {after}: no member begins at byte {self.at:,}; copy it again"
            ) from error
        self.archive += zeros > 0
        self.at += BLOCK
        if header.type not in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            self.last = header.name
        return header

    def content(self, header: tarfile.TarInfo, *, most: int | None = None) -> bytes:
        """The content that follows a header."""
        if most is not None and header.size > most:
            raise DataError(
                f"{self.tar}: the name of a member has {header.size:,} bytes; create the tar again"
            )
        length = self._padded(header)
        content = self._read(length, header)
        return content[: header.size]

    def skip(self, header: tarfile.TarInfo) -> None:
        """Skip the content that follows a header."""
        length = self._padded(header)
        if self.end is not None:
            if self.at + header.size > self.end:
                raise self._truncated(header)
            self.stream.seek(length, os.SEEK_CUR)
            self.at += length
            return
        while length:
            length -= len(self._read(min(length, _CHUNK), header))

    def _padded(self, header: tarfile.TarInfo) -> int:
        return -(-header.size // BLOCK) * BLOCK

    def _read(self, length: int, header: tarfile.TarInfo) -> bytes:
        # The size in the header may be wrong: never request more than the rest of the file.
        if self.end is not None and self.at + header.size > self.end:
            raise self._truncated(header)
        content = self.stream.read(length)
        self.at += len(content)
        if len(content) < length:
            raise self._truncated(header)
        return content

    def _truncated(self, header: tarfile.TarInfo) -> DataError:
        return DataError(f"{self.tar} is truncated within member {header.name!r}; copy it again")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _pax(content: bytes) -> dict[bytes, bytes]:
    """The records of a pax header, each `LENGTH KEY=VALUE` and a line end, up to the first malformed one."""
    records: dict[bytes, bytes] = {}
    while content:
        length, space, _ = content.partition(b" ")
        if not (space and length.isdigit() and len(length) + 1 < int(length) <= len(content)):
            break
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        records[key] = value
        content = content[int(length) :]
    return records
