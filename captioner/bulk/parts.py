"""Part files of a bulk run: parts that appear complete or not at all, and a journal of them.

    parts/00000012.jsonl              a line for each photo: its caption, or why there is none
    parts/.00000012.jsonl.unfinished  a part that is being written, under a lock that ends with its process
    journal/0-of-4.jsonl              a line for each part that this process finished
    run.json                          what must not change between two starts of one run
    manifest.json                     all parts, once every one is finished

A process may be killed at any moment. The complete batches of an unfinished part are kept and the rest is captioned
again, so that its bytes are those of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioner.bulk.work import Share
from captioner.errors import CaptionerError, UsageError
from captioner.files import json_text, lock_file, replace_file


@dataclass(frozen=True, slots=True)
class PartSummary:
    """A finished part.

    Attributes:
        part: Its file, below `parts/`.
        photos: Lines of the file.
        errors: How many of them hold an error instead of a caption.
        names: SHA-256 of the photos' names.
        sha256: Of the file.
    """

    part: str
    photos: int
    errors: int
    names: str
    sha256: str


class Parts:
    """The parts in the folder of a run.

    Args:
        folder: The run's.
        settings: What the captions depend on; a folder with other settings is refused.
        share: This process among those of the run.

    Attributes:
        finished: The summaries of finished parts, by file name.

    Raises:
        UsageError: If the folder holds a run of other settings, or a journal that cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], share: Share) -> None:
        self.folder = folder
        self._keep_settings(settings)
        (folder / "parts").mkdir(exist_ok=True)
        (folder / "journal").mkdir(exist_ok=True)
        self.journal = folder / "journal" / f"{share.index}-of-{share.count}.jsonl"
        self.finished: dict[str, PartSummary] = {}
        for journal in sorted((folder / "journal").glob("*.jsonl")):
            self.finished |= {summary.part: summary for summary in _read_journal(journal)}

    def begin(self, number: int, batch_size: int) -> OpenPart | PartSummary:
        """Open a part for writing, or return its summary if it is finished.

        Raises:
            UsageError: If another process is writing it.
        """
        path = self.folder / "parts" / f"{number:08d}.jsonl"
        if not path.exists():
            return OpenPart(path, batch_size)
        if path.name not in self.finished:  # killed between the part and its line in the journal
            tally = _Tally()
            with path.open("rb") as lines:
                for line in lines:
                    tally.add(line)
            self.note(tally.summary(path.name))
        return self.finished[path.name]

    def note(self, summary: PartSummary) -> None:
        """Write a finished part into this process's journal."""
        self.finished[summary.part] = summary
        with open(self.journal, "ab+") as journal:
            journal.seek(0, os.SEEK_END)
            if journal.tell():
                journal.seek(-1, os.SEEK_END)
                if journal.read(1) != b"\n":  # a kill cut the last line short
                    journal.write(b"\n")
            journal.write(json_text(asdict(summary)).encode() + b"\n")

    def complete(self, count: int) -> dict[str, Any] | None:
        """Write manifest.json if all `count` parts are finished, and return its content; else None."""
        for journal in sorted((self.folder / "journal").glob("*.jsonl")):
            self.finished |= {summary.part: summary for summary in _read_journal(journal)}
        names = [f"{number:08d}.jsonl" for number in range(count)]
        if not all(name in self.finished for name in names):
            return None
        summaries = [self.finished[name] for name in names]
        manifest = {
            "parts": count,
            "photos": sum(summary.photos for summary in summaries),
            "errors": sum(summary.errors for summary in summaries),
            "files": [asdict(summary) for summary in summaries],
        }
        text = json_text(manifest, indent=1) + "\n"
        replace_file(
            self.folder / "manifest.json", lambda name: Path(name).write_text(text, encoding="utf-8")
        )
        return manifest

    def _keep_settings(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / "run.json"
        text = json_text(settings, indent=1) + "\n"
        if not path.exists():
            replace_file(path, lambda name: Path(name).write_text(text, encoding="utf-8"))
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is damaged ({error}); choose another output_dir") from error
        if kept != json.loads(text):
            other = sorted(key for key in {*kept, *settings} if kept.get(key) != settings.get(key))
            raise UsageError(
                f"output_dir={self.folder} holds a run with other settings ({', '.join(other)} differ); choose another "
                "folder, or the settings of its run.json"
            )


class OpenPart:
    """A part that is being written.

    Args:
        path: Where it appears when it is complete.
        batch_size: Photos of a batch; complete batches of an earlier process are kept.

    Attributes:
        kept: The names of the photos that are captioned already.

    Raises:
        UsageError: If another process is writing it.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        self.path = path
        self.kept: list[str] = []
        self._tally = _Tally()
        self.file = open(path.with_name(f".{path.name}.unfinished"), "ab+")  # noqa: SIM115  # closed by finish
        if not lock_file(self.file):
            self.file.close()
            raise UsageError(
                f"another process writes {path}; give each process its own shard=i/n, or wait until that one has ended"
            )
        self.file.seek(0)
        whole = list(itertools.takewhile(_is_whole, self.file))
        for line in whole[: len(whole) // batch_size * batch_size]:
            self.kept.append(self._tally.add(line))
        self.file.truncate(self._tally.size)

    def write(self, lines: Sequence[str]) -> None:
        """Add the lines of a batch."""
        encoded = [line.encode() + b"\n" for line in lines]
        for line in encoded:
            self._tally.add(line)
        self.file.write(b"".join(encoded))
        self.file.flush()

    def finish(self) -> PartSummary:
        """Flush the part to disk and rename it to its final name.

        Raises:
            CaptionerError: It cannot be written.
        """
        try:
            os.fsync(self.file.fileno())
            os.replace(self.file.name, self.path)
        except OSError as error:
            raise CaptionerError(
                f"cannot write {self.path}: {error.strerror}; complete parts are kept"
            ) from error
        self.file.close()
        return self._tally.summary(self.path.name)


class _Tally:
    """Counts and checksums of the lines of a part, taken as they are written."""

    def __init__(self) -> None:
        self.photos = self.errors = self.size = 0
        self.names, self.content = hashlib.sha256(), hashlib.sha256()

    def add(self, line: bytes) -> str:
        """Count a line; returns its photo's name."""
        record = json.loads(line)
        self.photos += 1
        self.errors += "error" in record
        self.size += len(line)
        self.names.update(_as_bytes(record["image"]))
        self.content.update(line)
        name: str = record["image"]
        return name

    def summary(self, part: str) -> PartSummary:
        """The summary of the lines so far."""
        return PartSummary(part, self.photos, self.errors, self.names.hexdigest(), self.content.hexdigest())


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of photos' names, as in `PartSummary.names`."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(_as_bytes(name))
    return digest.hexdigest()


def other_photos(path: Path) -> UsageError:
    """The error for a part that was made from other photos."""
    return UsageError(
        f"{path} was made from other photos than images= names now; give the list it was made from, or another "
        "output_dir"
    )


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass") + b"\n"


def _is_whole(line: bytes) -> bool:
    """Whether a line is complete, and not cut short by a kill or a power failure."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line)["image"], str)
    except (ValueError, KeyError, TypeError):
        return False


def _read_journal(path: Path) -> Iterator[PartSummary]:
    for line in path.read_bytes().split(b"\n"):
        try:
            yield PartSummary(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut short by a kill; the part itself holds the same figures
