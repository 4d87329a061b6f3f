"""Downloads over broken connections, from a local server."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from captioner.data.prepare.download import MANIFEST, Remote, fetch
from captioner.errors import DataError, UsageError

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


@dataclass
class Site:
    """A server of one file, and how it behaves.

    Attributes:
        url: Of the file.
        content: What it holds now.
        breaks: After how many bytes the next connections break.
        ranges: Whether it can send a part.
        requests: Every request's Range.
    """

    url: str
    content: bytes = CONTENT
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.requests.append(wanted)
            if self.path != "/data.bin":
                self.send_error(404)
                return
            start = 0
            unchanged = self.headers.get("If-Range") in (None, served.tag)
            if wanted and served.ranges and unchanged:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(served.content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(served.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = served.content[start:]
            self.send_response(206 if start else 200)
            if start:
                end = len(served.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(served.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", served.tag)
            self.end_headers()
            if served.breaks:
                self.wfile.write(body[: served.breaks.pop(0)])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Site(f"http://127.0.0.1:{server.server_port}/data.bin")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield served
    server.shutdown()


def remote(site: Site, **known: object) -> Remote:
    return replace(Remote(site.url, "data.bin"), **known)  # type: ignore[arg-type]


def test_a_file_is_fetched_verified_and_recorded(site: Site, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = fetch(remote(site, size=len(CONTENT), sha256=digest), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert sorted(file.name for file in path.parent.iterdir()) == ["data.bin", MANIFEST]
    notes = json.loads((path.parent / MANIFEST).read_text())
    assert notes == {"data.bin": {"url": site.url, "size": len(CONTENT), "sha256": digest}}
    fetch(remote(site), path.parent)
    assert len(site.requests) == 1  # an existing file is not fetched again


def test_broken_connections_are_resumed(site: Site, tmp_path: Path) -> None:
    site.breaks = [1_200_000, 10, 0, 900_000]
    assert fetch(remote(site), tmp_path, tries=2, pause=0).read_bytes() == CONTENT
    starts = [int(wanted.removeprefix("bytes=")[:-1]) for wanted in site.requests[1:] if wanted]
    assert len(starts) == 4
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_a_later_run_resumes(site: Site, tmp_path: Path) -> None:
    site.breaks = [1_500_000, 0, 0]
    with pytest.raises(UsageError, match=r"cannot reach 127\.0\.0\.1 .+ 1,500,000 bytes"):
        fetch(remote(site), tmp_path, tries=2, pause=0)
    assert (tmp_path / "data.bin.part").stat().st_size == 1_500_000
    assert not (tmp_path / "data.bin").exists()
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == CONTENT
    assert site.requests[-1] == "bytes=1500000-"
    assert not list(tmp_path.glob("*.part*"))


def test_a_changed_file_is_downloaded_from_the_start(site: Site, tmp_path: Path) -> None:
    site.breaks = [1_500_000, 0]
    with pytest.raises(UsageError):
        fetch(remote(site), tmp_path, tries=1, pause=0)
    site.breaks, site.content = [], CONTENT[::-1]
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_the_whole_file(site: Site, tmp_path: Path) -> None:
    site.ranges, site.breaks = False, [2_000_000]
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"too long"])
def test_a_complete_part_is_accepted_and_a_longer_one_is_not(
    site: Site, tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT + extra)
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"size": 5}, r"data\.bin has 3,000,000 bytes on the server, and 5 are published"),
        ({"sha256": "0" * 64}, r"has the sha256 [0-9a-f]{64} instead of 0{64}; it is damaged"),
        ({"md5": "0" * 32}, r"has the md5 [0-9a-f]{32} instead of 0{32}"),
    ],
)
def test_a_file_other_than_the_published_one_is_refused(
    site: Site, tmp_path: Path, known: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fetch(remote(site, **known), tmp_path, pause=0)
    assert list(tmp_path.iterdir()) == []


def test_later_damage_is_detected_by_the_record(site: Site, tmp_path: Path) -> None:
    path = fetch(remote(site), tmp_path)
    path.write_bytes(CONTENT[:-1] + b"\0")
    with pytest.raises(DataError, match=r"data\.bin .*sha256.*damaged"):
        fetch(remote(site), tmp_path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"data\.bin .*2,999,999 .*3,000,000"):
        fetch(remote(site), tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DataError, match=r"downloads\.json cannot be read"):
        fetch(remote(site), tmp_path)


def test_a_file_missing_on_the_server_is_reported(site: Site, tmp_path: Path) -> None:
    message = r"127\.0\.0\.1 answers 404 Not Found for .+nothing; download .+ put it at .+data\.bin$"
    with pytest.raises(UsageError, match=message):
        fetch(replace(remote(site), url=site.url.replace("data.bin", "nothing")), tmp_path)


def test_an_unreachable_server_is_named(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.bin"
        with pytest.raises(UsageError, match=r"cannot reach 127\.0\.0\.1 .+.+ put it at"):
            fetch(Remote(url, "data.bin"), tmp_path, tries=2, pause=0)
    with pytest.raises(UsageError, match=r"cannot reach no-such-host\.invalid"):
        fetch(Remote("http://no-such-host.invalid/data.bin", "data.bin"), tmp_path, tries=1)


def test_too_little_disk_space_is_reported_beforehand(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(UsageError, match=r"0\.0 GB free.+data\.bin needs 0\.0 GB"):
        fetch(remote(site), tmp_path)
