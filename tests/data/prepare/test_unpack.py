"""Extraction of sound, hostile and damaged archives."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from captioner.data.prepare.unpack import unpack
from captioner.errors import DataError

FILES = {"top/a.jpg": b"a" * 100, "top/b/c.txt": b"c", "__MACOSX/x": b"x"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("top")
        for name, data in files.items():
            file.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_members_are_renamed_and_left_out_as_chosen(tmp_path: Path, pack: object) -> None:
    archive = pack(tmp_path / "archive", FILES)  # type: ignore[operator]
    folder = tmp_path / "out"
    choose = {"top/a.jpg": "photos/a.jpg", "top/b/c.txt": "c.txt"}.get
    assert unpack(archive, folder, choose=choose) == 2
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"photos/a.jpg": b"a" * 100, "c.txt": b"c"}
    (folder / "photos" / "a.jpg").write_bytes(b"half")
    assert unpack(archive, folder, choose=choose) == 1  # only incomplete files
    assert (folder / "photos" / "a.jpg").read_bytes() == b"a" * 100


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"]
)
def test_no_member_leaves_the_folder(tmp_path: Path, pack: object, name: str) -> None:
    archive = pack(tmp_path / "archive", {name: b"x"})  # type: ignore[operator]
    with pytest.raises(DataError, match=r"archive: photo .+ lies outside"):
        unpack(archive, tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["archive"]


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        with tarfile.open(archive, "w") as file:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        with pytest.raises(DataError, match=r"'link' is a link"):
            unpack(archive, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as zip_file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        zip_file.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match=r"'link' is a link"):
        unpack(tmp_path / "archive.zip", tmp_path / "out")


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("place", [60, 5000, 20_000, 90_000])  # the header of a tar, stored and coded blocks
@pytest.mark.parametrize("seed", range(5))
def test_damage_is_named(tmp_path: Path, pack: object, place: int, seed: int) -> None:
    contents = random.Random(seed).randbytes(100_000)
    archive = pack(tmp_path / "archive", {"a": contents})  # type: ignore[operator]
    data = bytearray(archive.read_bytes())
    data[place : place + 100] = bytes(100)
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"archive is damaged"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "a").exists()


def test_an_error_page_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for page in (b"<html>", gzip.compress(b"<html>")):
        archive.write_bytes(page)
        with pytest.raises(DataError, match=r"archive is not a zip or tar file"):
            unpack(archive, tmp_path / "out")
