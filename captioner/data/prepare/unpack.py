"""Safe, repeatable extraction of zip and tar archives.

No member may lead out of the folder, or be a link or a device. Complete files of an earlier run are left as they are.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from captioner.data.readers.photo_folder import check_photo_name
from captioner.errors import DataError, UsageError

Choose = Callable[[str], str | None]
"""Maps a member's name to its path below the folder; None leaves it out."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, *, choose: Choose = lambda name: name) -> int:
    """Unpack a zip or tar file.

    Args:
        archive: The file.
        folder: The folder of the extracted members.
        choose: Renames members, or leaves them out.

    Returns:
        The number of files written; existing files of the right size are not written again.

    Raises:
        DataError: The archive is damaged, or a member would leave the folder, is a link or not a regular file.
        UsageError: The disk has too little space.
    """
    written = 0
    try:
        with _OpenArchive(archive) as (members, total):
            free = shutil.disk_usage(folder if folder.exists() else archive.parent).free
            if total > free:
                raise UsageError(
                    f"{folder} has {free / 1e9:.1f} GB free, and {archive.name} unpacks to {total / 1e9:.1f} GB; "
                    "choose another root"
                )
            with tqdm(
                total=total,
                desc=f"unpacking {archive.name}",
                unit="B",
                unit_scale=True,
                disable=None,
                leave=False,
            ) as bar:
                for member in members:
                    target = choose(check_photo_name(member.name, str(archive)))
                    if target is not None:
                        written += _write(member, folder / check_photo_name(target, str(archive)))
                    bar.update(member.size)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is damaged ({error}); delete it and start again") from error
    return written


class _OpenArchive:
    """The members of an archive and their size, as a context."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive

    def __enter__(self) -> tuple[Iterator[_Member], int]:
        if zipfile.is_zipfile(self.archive):
            self.file: zipfile.ZipFile | tarfile.TarFile = zipfile.ZipFile(self.archive)
            infos = self.file.infolist()
            return self._zipped(self.file, infos), sum(info.file_size for info in infos)
        if self.archive.is_file():
            _verify_gzip(self.archive)
        if not self.archive.is_file() or not tarfile.is_tarfile(self.archive):
            raise DataError(
                f"{self.archive} is not a zip or tar file, possibly an error page; delete it and start again"
            )
        self.file = tarfile.open(self.archive)
        return self._tarred(self.file), 0  # the size of a compressed tar is known only at its end

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def _zipped(self, file: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> Iterator[_Member]:
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise DataError(
                    f"{self.archive}: {info.filename!r} is a link or not a regular file; the archive is refused"
                )
            yield _Member(info.filename, info.file_size, lambda info=info: file.open(info))  # type: ignore[misc]

    def _tarred(self, file: tarfile.TarFile) -> Iterator[_Member]:
        for info in file:
            if info.isdir():
                continue
            stream = file.extractfile(info) if info.isreg() else None
            if stream is None:
                raise DataError(
                    f"{self.archive}: {info.name!r} is a link or not a regular file; the archive is refused"
                )
            yield _Member(info.name, info.size, lambda stream=stream: stream)  # type: ignore[misc]


def _verify_gzip(archive: Path) -> None:
    """Read a gzip file to its end, where its checksum is, to detect damage before any member is used."""
    with archive.open("rb") as packed:
        if packed.read(2) != b"\x1f\x8b":
            return
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed) as stream:
            while stream.read(1 << 20):
                pass


def _write(member: _Member, path: Path) -> bool:
    """Write a member, unless it exists. Returns whether it was written."""
    if path.is_file() and not path.is_symlink() and path.stat().st_size == member.size:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with member.open() as source, unfinished.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    os.replace(unfinished, path)
    return True
