"""Reader of tars, compared with Python's `tarfile`, which writes them."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.data.shards.tar_stream import BLOCK, Member, read_members
from captioner.errors import DataError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=150)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def write(path: Path, files: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(path: Path) -> list[Member]:
    with path.open("rb") as stream:
        return list(read_members(stream, "x.tar"))


class Piped(io.BytesIO):
    """A stream that cannot seek."""

    def seekable(self) -> bool:
        return False


@settings(max_examples=25)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6), FORMATS)
def test_reads_what_tarfile_wrote(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, bytes]], form: int
) -> None:
    if form == tarfile.USTAR_FORMAT:
        files = [(name[:30].encode("ascii", "replace").decode().replace("?", "_"), c) for name, c in files]
    path = write(tmp_path_factory.mktemp("tar") / "x.tar", files, form)
    members = read(path)
    with tarfile.open(path) as tar:
        expected = [(info.name, info.offset_data, info.size) for info in tar]
    assert [(m.name, m.offset, m.size) for m in members] == expected
    assert [m.content for m in members] == [content for _, content in files]
    piped = list(read_members(Piped(path.read_bytes()), "x.tar", wanted=lambda name: False))
    assert [(m.name, m.offset, m.size) for m in piped] == expected
    assert all(m.content is None for m in piped)


def test_reads_what_tar_wrote_and_skips_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "d" / ("x" * 90)).mkdir(parents=True)
    long = tmp_path / "d" / ("x" * 90) / ("y" * 120 + ".txt")
    long.write_text("long")
    (tmp_path / "d" / "a.txt").write_text("a")
    (tmp_path / "d" / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "d" / "hard.txt").hardlink_to(tmp_path / "d" / "a.txt")
    for form in ("gnu", "pax"):
        subprocess.run(
            [
                "tar",
                f"--format={form}",
                "--sort=name",
                "-C",
                str(tmp_path),
                "-cf",
                str(tmp_path / "x.tar"),
                "d",
            ],
            check=True,
        )
        found = {m.name: m.content for m in read(tmp_path / "x.tar")}
        assert found == {"d/a.txt": b"a", str(long.relative_to(tmp_path)): b"long"}


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return write(tmp_path / "x.tar", [("a.jpg", b"a" * 700), ("b.jpg", b"b" * 700)], tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "x.tar is empty (0 bytes)"),
        (100, "x.tar is truncated at its start (byte 100)"),
        (BLOCK, "x.tar is truncated within member 'a.jpg'"),
        (BLOCK + 600, "x.tar is truncated within member 'a.jpg'"),
        (3 * BLOCK, "x.tar is truncated after member 'a.jpg' (byte 1,536)"),
        (3 * BLOCK + 7, "x.tar is truncated after member 'a.jpg'"),
        (4 * BLOCK + 1, "x.tar is truncated within member 'b.jpg'"),
        (6 * BLOCK, "x.tar is truncated after member 'b.jpg'"),
    ],
)
def test_a_truncated_tar_is_named_with_its_member(
    tar: Path, length: int, message: str, wanted: bool, piped: bool
) -> None:
    tar.write_bytes(tar.read_bytes()[:length])
    stream = Piped(tar.read_bytes()) if piped else tar.open("rb")
    with stream, pytest.raises(DataError, match=re.escape(message)):
        list(read_members(stream, "x.tar", wanted=lambda name: wanted))


def test_a_damaged_header_is_named_with_the_member_before(tar: Path) -> None:
    content = bytearray(tar.read_bytes())
    content[3 * BLOCK + 5] ^= 1
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar is damaged after member 'a\.jpg': .*byte 1,536"):
        read(tar)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_concatenated_tars_are_read_to_the_end(tar: Path, wanted: bool, piped: bool) -> None:
    one = tar.read_bytes()
    tar.write_bytes(one + one + bytes(3 * BLOCK) + one)
    stream = Piped(tar.read_bytes()) if piped else tar.open("rb")
    with stream:
        members = list(read_members(stream, "x.tar", wanted=lambda name: wanted))
    assert [(m.name, m.archive) for m in members] == [(n, k) for k in range(3) for n in ("a.jpg", "b.jpg")]
    whole = tar.read_bytes()
    assert [whole[m.offset : m.offset + m.size] for m in members] == [b"a" * 700, b"b" * 700] * 3


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize(
    ("zeros", "message"),
    [
        ((0, 1), "x.tar is damaged at its start: zeros in place of a header at byte 0"),
        ((3, 4), "x.tar is damaged after member 'a.jpg': zeros in place of a header at byte 1,536"),
        ((3, 5), "x.tar is damaged after member 'a.jpg': no member begins at byte 2,560"),
    ],
)
def test_zeros_in_the_middle_are_damage(
    tar: Path, zeros: tuple[int, int], message: str, wanted: bool
) -> None:
    content = bytearray(tar.read_bytes())
    start, end = (BLOCK * place for place in zeros)
    content[start:end] = bytes(end - start)
    tar.write_bytes(content)
    with tar.open("rb") as stream, pytest.raises(DataError, match=re.escape(message)):
        list(read_members(stream, "x.tar", wanted=lambda name: wanted))


def test_a_long_name_without_its_member_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [("n" * 200, b"")], tarfile.GNU_FORMAT)
    content = path.read_bytes()
    path.write_bytes(content[: 2 * BLOCK] + bytes(4 * BLOCK) + content)
    with pytest.raises(DataError, match="zeros in place of a header at byte 1,024"):
        read(path)


def test_other_data_after_the_end_is_damage(tar: Path) -> None:
    for junk, message in (
        (b"junk" * 200, "no member begins at byte"),
        (b"junk", "is truncated after member"),
    ):
        path = tar.with_name("junk.tar")
        path.write_bytes(tar.read_bytes() + junk)
        with pytest.raises(DataError, match=message):
            read(path)


def test_a_false_size_is_refused(tar: Path) -> None:
    info = tarfile.TarInfo("b.jpg")
    info.size = 8**11 - 1  # 8 GB, which must not be requested
    content = bytearray(tar.read_bytes())
    content[3 * BLOCK : 4 * BLOCK] = info.tobuf(tarfile.USTAR_FORMAT)
    tar.write_bytes(content)
    with pytest.raises(DataError, match=r"truncated within member 'b\.jpg'"):
        read(tar)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b" + bytes(600), "compressed by gzip; read it by 'pipe:gzip"),
        (b"<html>" * 200, "not a tar file"),
    ],
)
def test_other_files_are_refused(tar: Path, content: bytes, message: str) -> None:
    tar.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tar)
