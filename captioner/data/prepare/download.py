"""Download of large files, resumed after broken connections and verified.

A file is downloaded to `NAME.part`, which is renamed to `NAME` when size and checksum are right. `downloads.json` in
the same folder records the checksum of every file, and later runs verify the file against it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from captioner.errors import CaptionerError, DataError, UsageError
from captioner.files import json_text, replace_file
from captioner.version import __version__

MANIFEST = "downloads.json"

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to download.

    Attributes:
        url: http or https.
        name: Its local name.
        size: Its published size in bytes; None takes the server's.
        sha256: Its published checksum, if any.
        md5: Its published MD5 checksum, if there is no other.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


def fetch(remote: Remote, folder: Path, *, tries: int = 5, pause: float = 1.0) -> Path:
    """Download a file, resume an earlier download, or verify an existing file.

    Args:
        remote: What to download.
        folder: The folder of the file; created if missing.
        tries: Failed attempts in a row, without any byte received, before giving up.
        pause: Seconds before the second attempt; doubled each time.

    Returns:
        The complete, verified file.

    Raises:
        UsageError: The server cannot be reached or refuses, or the disk has too little space.
        DataError: The file differs from the published or recorded one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / remote.name, folder / f"{remote.name}.part"
    if path.exists():
        _verify(path, remote, _recorded(folder).get(remote.name))
        return path
    size = _download(remote, part, tries=tries, pause=pause)
    if part.stat().st_size != size:
        raise DataError(
            f"{part} has {part.stat().st_size:,} bytes instead of {size:,}; delete it and start again"
        )
    record = {"url": remote.url, "size": size, "sha256": _digest(part, "sha256")}
    try:
        _verify(part, remote, record)
    except DataError:
        part.unlink()  # a download cannot be resumed from wrong bytes
        raise
    records = {**_recorded(folder), remote.name: record}
    part.replace(path)
    text = json_text(records, indent=2) + "\n"
    replace_file(folder / MANIFEST, lambda name: Path(name).write_text(text, encoding="utf-8"))
    return path


def _recorded(folder: Path) -> dict[str, Any]:
    """The records of earlier runs by file."""
    path = folder / MANIFEST
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it to record the files again") from error
    return records if isinstance(records, dict) else {}


def _verify(path: Path, remote: Remote, record: Any) -> None:
    """Raise `DataError` unless the file has the published size and checksum, or the recorded ones."""
    recorded = record if isinstance(record, dict) else {}
    remedy = "it is damaged, or another file: delete it and start again"
    size = remote.size if remote.size is not None else recorded.get("size")
    actual = path.stat().st_size
    if size is not None and actual != size:
        raise DataError(f"{path} has {actual:,} bytes instead of {size:,}; {remedy}")
    for kind, expected in (("sha256", remote.sha256 or recorded.get("sha256")), ("md5", remote.md5)):
        if expected is not None and (digest := _digest(path, kind)) != expected:
            raise DataError(f"{path} has the {kind} {digest} instead of {expected}; {remedy}")


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _download(remote: Remote, part: Path, *, tries: int, pause: float) -> int:
    """Download `part` to its full size, and return that size."""
    host = urllib.parse.urlsplit(remote.url).hostname
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _attempt(remote, part)
        except urllib.error.HTTPError as error:
            raise UsageError(
                f"{host} answers {error.code} {error.reason} for {remote.url}; {_by_hand(remote, part)}"
            ) from error
        except (urllib.error.URLError, *_BROKEN) as error:
            reason = getattr(error, "reason", error)
            have = part.stat().st_size if part.exists() else 0
            failed = 0 if have > before else failed + 1
            if failed >= tries:
                raise UsageError(
                    f"cannot reach {host} ({reason}); check the network and start again to resume at {have:,} "
                    f"bytes, or {_by_hand(remote, part)}"
                ) from error
            time.sleep(pause * 2 ** max(0, failed - 1))


def _by_hand(remote: Remote, part: Path) -> str:
    return f"download {remote.url} on another machine and put it at {part.with_suffix('')}"


def _attempt(remote: Remote, part: Path) -> int:
    """Download over one connection. Returns the full size when complete."""
    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have == remote.size:
        return have
    tag = part.with_name(f"{part.name}.tag")  # of the version whose download was begun
    headers = {"User-Agent": f"captioner/{__version__}", "Accept-Encoding": "identity"}
    known = tag.read_text() if have and tag.exists() else None
    if have:
        headers["Range"] = f"bytes={have}-"
        if known:
            headers["If-Range"] = known
    # The caller names a published address, http or https: no user input.
    request = urllib.request.Request(remote.url, headers=headers)  # noqa: S310
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The download is complete, or longer than the file.
        if _after_slash(error.headers) == have:
            return have
        part.unlink()
        raise ConnectionError("the downloaded part is not the beginning of the file") from error
    with answer:
        start = _start(answer, have)
        total = _total(answer, start)
        if remote.size is not None and total is not None and total != remote.size:
            raise DataError(
                f"{remote.url} has {total:,} bytes on the server, and {remote.size:,} are published: "
                "the file has changed, or the server sent another one"
            )
        full = total if total is not None else remote.size
        if full is not None and (free := shutil.disk_usage(part.parent).free) < full - start:
            raise UsageError(
                f"{part.parent} has {free / 1e9:.1f} GB free, and {remote.name} needs "
                f"{(full - start) / 1e9:.1f} GB more; choose another root"
            )
        if etag := answer.headers.get("ETag"):
            tag.write_text(etag)
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(start)
            file.truncate()
            _copy(answer, file, remote.name, start, full)
            end = file.tell()
    if full is not None and end < full:
        raise ConnectionError(f"the connection broke after {end:,} of {full:,} bytes")
    tag.unlink(missing_ok=True)
    return end if full is None else full


def _start(answer: Any, have: int) -> int:
    """The offset of the received bytes."""
    if answer.status != 206:
        return 0  # the server sends the whole file
    first = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    if first != str(have):
        raise CaptionerError(f"the server sends bytes from {first!r}, but those from {have} were requested")
    return have


def _total(answer: Any, start: int) -> int | None:
    """The size of the whole file, if the server states it."""
    if (total := _after_slash(answer.headers)) is not None:
        return total
    length = answer.headers.get("Content-Length")
    return start + int(length) if length is not None else None


def _after_slash(headers: Any) -> int | None:
    """The size of the whole file in `Content-Range: bytes 5-9/10`."""
    total = str(headers.get("Content-Range") or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _copy(answer: Any, file: IO[bytes], name: str, start: int, full: int | None) -> None:
    with tqdm(
        total=full, initial=start, desc=name, unit="B", unit_scale=True, disable=None, leave=False
    ) as bar:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
