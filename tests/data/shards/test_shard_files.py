from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from captioner.data.shards.shard_files import expand_braces, find_shards, is_shard, read_samples
from captioner.errors import DataError

FILES = [
    ("000000.jpg", b"photo 0"), ("000000.json", b'{"captions": ["a", "b"]}'),
    ("000001.json", b"{}"), ("000001.cls.txt", b"7"), ("000001.png", b"photo 1"),
    ("sub/000002.JPG", b"photo 2"),
]  # fmt: skip


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write(tmp_path / "x-000.tar", FILES)


def write(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("text", ["a.tar", "x-{000..012}.tar", "{a,b}{1..3}.tar", "{9..11}", "{3..1}", "{x}"])
def test_braces_expand_as_in_a_shell(text: str) -> None:
    shell = subprocess.run(["bash", "-c", f"echo {text}"], capture_output=True, text=True, check=True)
    assert expand_braces(text) == shell.stdout.split()


def test_other_braces_are_kept() -> None:
    assert expand_braces("pipe:awk '{print}' {1..2}") == ["pipe:awk '{print}' 1", "pipe:awk '{print}' 2"]


def test_shards_are_found_by_path_pattern_braces_and_pipe(tmp_path: Path) -> None:
    for number in (2, 10, 0):
        write(tmp_path / f"x-{number:03d}.tar", FILES)
    names = [str(tmp_path / f"x-{number:03d}.tar") for number in (0, 2, 10)]
    assert find_shards("x-*.tar", folder=tmp_path) == names
    assert find_shards(str(tmp_path / "x-{002..002}.tar")) == names[1:2]
    assert find_shards(["x-010.tar", "x-000.tar"], folder=tmp_path) == [names[2], names[0]]
    assert find_shards("pipe:cat x-{0..1}.tar") == ["pipe:cat x-0.tar", "pipe:cat x-1.tar"]
    assert is_shard("a/B.TAR")
    assert is_shard("pipe:cat a")
    assert not is_shard("a.jpg")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no-{0..1}.tar", r"there is no shard .*no-0\.tar"),
        ("no*.tar", r"there is no shard .*no\*\.tar"),
        ("https://host/x.tar", r"read it by 'pipe:curl -sfL https://host/x\.tar'"),
        ([], "no shard is named"),
    ],
)
def test_missing_shards_are_named(entry: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        find_shards(entry, folder=tmp_path)


@pytest.mark.parametrize("pipe", [False, True])
def test_neighbours_of_one_key_are_a_sample(shard: Path, pipe: bool) -> None:
    samples = list(read_samples(f"pipe:cat {shard}" if pipe else str(shard)))
    assert [sample.key for sample in samples] == ["000000", "000001", "sub/000002"]
    assert [sample.photo for sample in samples] == ["jpg", "png", "jpg"]
    assert samples[1].files == {"json": b"{}", "cls.txt": b"7", "png": b"photo 1"}
    offset, size = samples[0].positions["json"]
    assert shard.read_bytes()[offset : offset + size] == FILES[1][1]
    few = list(read_samples(str(shard), wanted=lambda suffix: suffix == "json"))
    assert [sample.files["json"] for sample in few[:2]] == [FILES[1][1], b"{}"]
    assert few[0].files["jpg"] is None


def test_a_pipe_of_several_tars_gives_the_samples_of_all(shard: Path) -> None:
    samples = list(read_samples(f"pipe:cat {shard} {shard}"))
    assert [(sample.archive, sample.key) for sample in samples] == [
        (archive, key) for archive in (0, 1) for key in ("000000", "000001", "sub/000002")
    ]
    one = write(shard.with_name("one.tar"), FILES[:2])  # its last sample is called as the next one's first
    assert [sample.key for sample in read_samples(f"pipe:cat {one} {one}")] == ["000000", "000000"]


def test_webdataset_reads_the_same_samples(shard: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    theirs = list(webdataset.WebDataset([str(shard)], shardshuffle=False))
    for own, other in zip(read_samples(str(shard)), theirs, strict=True):
        assert own.key == other["__key__"]
        assert dict(own.files) == {k: v for k, v in other.items() if not k.startswith("__")}


def test_a_repeated_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [*FILES[:2], FILES[0]])
    with pytest.raises(DataError, match=r"x\.tar .*'000000\.jpg' twice"):
        list(read_samples(str(path)))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exit 3", "pipe:exit 3 failed with status 3"),
        ("cat {shard}; exit 4", "failed with status 4"),
        ("head -c 700 {shard}", "is truncated within member '000000.jpg'|is truncated after"),
    ],
)
def test_a_command_that_fails_is_named(shard: Path, command: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_samples("pipe:" + command.replace("{shard}", str(shard))))


def test_stopping_early_ends_the_command(shard: Path) -> None:
    samples = read_samples(f"pipe:cat {shard} /dev/zero")
    assert next(samples).key == "000000"
    samples.close()  # type: ignore[attr-defined]


def test_an_unreadable_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=re.escape(f"cannot read the shard {tmp_path / 'no.tar'}: No such file")
    ):
        list(read_samples(str(tmp_path / "no.tar")))
