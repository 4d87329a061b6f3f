"""Which photos does the user mean? A path, a folder, a pattern, a list, standard input."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from captioner.errors import UsageError
from captioner.image.formats import PHOTO_SUFFIXES

NOT_PHOTOS = ".not-photos"
"""A folder with a file of this name holds pictures made from photos: a folder or pattern above it passes it over."""

_LIST_SUFFIX = ".txt"
_NEEDS_QUOTES = re.compile(r"[\s=,\[\]{}()]")
_PATTERN = re.compile(r"[*?\[]")


def find_photos(images: str | Sequence[str], *, stdin: TextIO | None = None) -> list[Path]:
    """Find the photos that `images` names, in the order named.

    Each entry is one of
      - a photo;
      - a folder: all photos in it and below, in natural order (2.jpg before 10.jpg), without hidden files and folders
        of pictures that `captioner.predict` made;
      - a pattern with `*`, `?`, `[...]` or `**`, sorted likewise; what exists by its very name is no pattern;
      - a `.txt` file with one photo, folder or pattern per line, relative to the folder of the list file;
        blank lines and lines that begin with `#` are skipped;
      - `-`: lines as in a list file, from standard input, relative to the current folder.

    What a list names but does not exist is returned all the same: decoding reports each, and the others are
    captioned.

    Args:
        images: One entry or several.
        stdin: What `-` reads.

    Returns:
        Paths of at least one file. A photo named twice is returned twice.

    Raises:
        UsageError: Nothing is there by that name, or a folder, pattern or list holds no photo.
    """
    return list(iter_photos(images, stdin=stdin))


def iter_photos(images: str | Sequence[str], *, stdin: TextIO | None = None) -> Iterator[Path]:
    """The photos of `find_photos`, found as they are needed: for more than should be kept in memory.

    Raises:
        UsageError: As `find_photos`; where a list or folder holds nothing, when its turn comes.
    """
    entries = [images] if isinstance(images, str) else list(images)
    if not all(entry.strip() for entry in entries) or not entries:
        raise UsageError(
            "images= is empty; give a photo, a folder, a pattern, a .txt list or - for standard input"
        )
    return (path for entry in entries for path in _expand(entry, stdin))


def _expand(entry: str, stdin: TextIO | None) -> Iterator[Path]:
    if entry == "-":
        if stdin is None:
            raise UsageError("images=- reads standard input, and there is none here; name the photos instead")
        yield from _from_lines(stdin, Path(), "standard input")
        return
    path = Path(os.path.expanduser(entry))
    if path.is_file() and path.suffix.lower() == _LIST_SUFFIX:
        try:
            with path.open(encoding="utf-8-sig") as lines:
                yield from _from_lines(lines, path.parent, str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the list {path}: {error}; it must be UTF-8 text, one path a line"
            ) from error
        return
    photos = _existing(path)
    if (first := next(photos, None)) is not None:
        yield first
        yield from photos
        return
    if path.is_dir():
        raise UsageError(f"the folder {path} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")
    what = "photo that matches" if _PATTERN.search(entry) else "photo, folder or list"
    raise UsageError(f"there is no {what} {entry!r}{_hint(entry)}")


def _existing(path: Path) -> Iterator[Path]:
    """The photos at `path`, which may be a file, a folder or a pattern; none where there is none."""
    if path.is_dir():
        yield from _walk(path)
        return
    if path.exists():
        yield path
        return
    # What exists by its very name is no pattern: brackets are common in names of photos and folders.
    literal = next(parent for parent in path.parents if parent.exists() or parent == parent.parent)
    rest = str(path.relative_to(literal))
    if not _PATTERN.search(rest):
        return
    matches = (literal / match for match in glob.glob(rest, root_dir=literal, recursive=True))
    yield from sorted(
        (match for match in matches if _is_photo(match) and not _made(match, literal)), key=_natural
    )


def _made(path: Path, below: Path) -> bool:
    """Whether a folder between `below` and the photo says that it holds no photos."""
    between = path.relative_to(below).parents
    return any((below / parent / NOT_PHOTOS).exists() for parent in between if parent != Path())


def _from_lines(lines: Iterable[str], folder: Path, name: str) -> Iterator[Path]:
    named = False
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        named = True
        path = folder / os.path.expanduser(text)
        if path.suffix.lower() in PHOTO_SUFFIXES and not _PATTERN.search(text):
            yield path  # not looked for: a list may name millions, and decoding reports what is not there
            continue
        photos = _existing(path)
        yield next(photos, path)
        yield from photos
    if not named:
        raise UsageError(f"{name} names no photo; write one path a line")


def _walk(folder: Path) -> Iterator[Path]:
    """Photos of a folder in natural order, then of each sub-folder; links to folders are not followed."""

    def refuse(error: OSError) -> None:  # leaving photos out silently would be worse
        raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        if NOT_PHOTOS in files and Path(parent) != folder:
            folders.clear()
            continue
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)
        yield from (
            Path(parent, file) for file in sorted(files, key=_natural) if _is_photo(Path(parent, file))
        )


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def _natural(path: Path | str) -> list[tuple[int, int, str]]:
    """Sorts by number where there are digits, then by letters without regard to case."""
    parts = re.split(r"(\d+)", str(path))
    key = [(0, int(p), p) if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p]
    return [*key, (2, 0, str(path))]  # names that differ in case alone still have one order


def _hint(entry: str) -> str:
    if _NEEDS_QUOTES.search(entry):
        return f"; in a shell, quote names with blanks, =, commas or brackets twice: 'images=\"{entry}\"'"
    return "; check the spelling and the current folder"
