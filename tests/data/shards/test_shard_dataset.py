from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.shards.shard_dataset import Shards
from captioner.errors import DataError, ImageError, UsageError
from tests.data.shards.scene_shards import SCENES, SIZE, foreign, order
from tests.data.test_datamodule import TOKENIZER, module


def test_samples_are_those_that_were_written(folder: Path) -> None:
    shards = Shards("train-{000000..000004}.tar", root=folder)
    assert len(shards) == SIZE
    for index in [*range(SIZE), 0, 22, 11]:  # more shards than are cached
        assert shards[index].id == SCENES[index].id
        assert shards[index].captions == SCENES[index].captions
        np.testing.assert_array_equal(shards.photo(index).pixels, SCENES.photo(index).pixels)
    with pytest.raises(IndexError, match="index 23 is outside the 23 images"):
        shards[SIZE]


def test_without_an_index_and_from_a_pipe_the_samples_are_counted(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.tar"):
        (tmp_path / path.name).symlink_to(path)
    assert len(Shards("*.tar", root=tmp_path, allow_outside=True)) == SIZE
    piped = Shards(f"pipe:cat {folder}/train-{{000003..000004}}.tar")
    assert [piped[k].captions for k in range(8)] == [SCENES[15 + k].captions for k in range(8)]
    with pytest.raises(UsageError, match="sequentially; name files"):
        piped.photo(0)


def test_shards_outside_the_root_are_read_only_when_allowed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link.tar").symlink_to(folder / "train-000000.tar")
    for name in ("link.tar", str(folder / "train-000000.tar"), f"../{folder.name}/train-000000.tar"):
        root = tmp_path if name != f"../{folder.name}/train-000000.tar" else folder.parent / "root"
        root.mkdir(exist_ok=True)
        message = r"a shard: \S+ .*lies outside data\.root=\S+; move it there, or allow it by data.allow_outside=true"
        with pytest.raises(DataError, match=message):
            Shards(name, root=root)
        assert len(Shards(name, root=root, allow_outside=True)) == 5
    shutil.copy(folder / "train-000000.tar", tmp_path / "copy.tar")
    (tmp_path / "index.json").symlink_to(folder / "index.json")
    with pytest.raises(DataError, match=r"index\.json.*outside"):
        Shards("copy.tar", root=tmp_path)
    assert len(Shards(f"pipe:cat {folder}/train-000000.tar", root=tmp_path)) == 5


def test_the_index_of_a_changed_shard_is_ignored(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    for path in folder.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    index["shardlist"][0] |= {"nsamples": 99, "filesize": 7}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert len(Shards("*.tar", root=tmp_path)) == SIZE
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        Shards("train-00000[01].tar", root=tmp_path / ".." / tmp_path.name)


Break = Callable[[Path], None]


def cut(path: Path) -> None:
    with tarfile.open(path) as tar:
        at = tar.getmember("000000008.png").offset_data + 10
    path.write_bytes(path.read_bytes()[:at])


def no_photo(path: Path) -> None:
    change(path, {"000000008.png": None})


def damaged_photo(path: Path) -> None:
    change(path, {"000000008.png": b"<html>no</html>"})


def bad_json(path: Path) -> None:
    change(path, {"000000008.json": b'{"captions": '})


def no_captions(path: Path) -> None:
    change(path, {"000000008.json": b'{"id": "8"}'})


def change(path: Path, files: dict[str, bytes | None]) -> None:
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            new = files.get(name, content)
            if new is not None:
                info = tarfile.TarInfo(name)
                info.size = len(new)
                tar.addfile(info, io.BytesIO(new))


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("damage", "message", "lost"),
    [
        (cut, r"train-000001\.tar is truncated within member '000000008\.png'", (8, 9)),
        (no_photo, r"train-000001\.tar::000000008 has no photo", (8,)),
        (damaged_photo, r"train-000001\.tar::000000008\.png is a web page", (8,)),
        (bad_json, r"train-000001\.tar::000000008\.json is not JSON", (8,)),
        (no_captions, r"train-000001\.tar::000000008\.json has no captions", (8,)),
    ],
)
def test_damage_is_named_with_shard_and_member(
    damage: Break, message: str, lost: tuple[int, ...], indexed: bool, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path / "train-000001.tar")
    if not indexed:
        (tmp_path / "index.json").unlink()
    else:  # an index from before the damage, of the same size
        index = json.loads((tmp_path / "index.json").read_text())
        index["shardlist"][1]["filesize"] = (tmp_path / "train-000001.tar").stat().st_size
        (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises((DataError, ImageError), match=message):
        list(module(train=Shards("*.tar", root=tmp_path)).train_dataloader())

    shards = Shards("*.tar", root=tmp_path, on_bad="skip")
    batches = list(module(train=shards, on_bad="skip").train_dataloader())
    seen = [
        index
        for batch in batches
        for row, index in enumerate(batch.indices.tolist())
        if (batch.tokens[row] != TOKENIZER.pad_id).any()
    ]
    gone = () if damage is cut and not indexed else lost
    faults = [fault for batch in batches for fault in batch.faults]
    assert len(faults) == len(gone)
    if not (damage is cut and not indexed):
        assert sorted(seen) == [index for index in range(SIZE) if index not in lost]
    else:  # later samples have other indices: the shard counts three
        assert sorted(seen) == list(range(SIZE - 2))


def test_a_shard_of_another_number_of_samples_is_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    index = json.loads((tmp_path / "index.json").read_text())
    index["shardlist"][2]["nsamples"] = 7
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"train-000002\.tar .*5 samples.* 7 "):
        list(order(Shards("*.tar", root=tmp_path)).batches(0))


def test_wrong_usage_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.shuffle_buffer=0 .*1"):
        order(Shards("*.tar", root=folder), buffer=0)
    with pytest.raises(UsageError, match=r"data\.on_bad=never .*stop.*skip"):
        Shards("*.tar", root=folder, on_bad="never")  # type: ignore[arg-type]


def ids_of(shards: Shards) -> list[str]:
    return [shards[index].id for index in range(len(shards))]


def test_keys_that_repeat_in_every_shard_are_distinguished(tmp_path: Path) -> None:
    records: dict[str, dict[str, Any]] = {
        "000": {"caption": "a dog"},
        "001": {"caption": "a cat", "id": None},
    }
    for name in ("a-0", "a-1"):
        foreign(tmp_path / f"{name}.tar", records)
    expected = ["a-0/000", "a-0/001", "a-1/000", "a-1/001"]
    assert ids_of(Shards("a-*.tar", root=tmp_path)) == expected
    assert ids_of(Shards(str(tmp_path / "a-{0,1}.tar"), root=tmp_path)) == expected
    foreign(tmp_path / "b" / "a-0.tar", records)
    both = Shards(["a-0.tar", "b/a-0.tar"], root=tmp_path)
    assert ids_of(both) == ["a-0/000", "a-0/001", "b/a-0/000", "b/a-0/001"]
    piped = ids_of(Shards(f"pipe:cat {tmp_path}/a-0.tar {tmp_path}/a-1.tar"))
    assert [own.rpartition("a-1.tar")[2] for own in piped] == ["/000", "/001", "+1/000", "+1/001"]
    with pytest.raises(DataError, match=r"the shard \S*a-0\.tar is named twice"):
        Shards(["a-0.tar", "a-*.tar"], root=tmp_path)


def test_an_id_twice_in_a_shard_is_refused_or_left_out(tmp_path: Path) -> None:
    foreign(tmp_path / "a.tar", {k: {"caption": k, "id": 7} for k in ("x", "y")})
    message = r"a\.tar::y has the id 7 of an earlier sample"
    with pytest.raises(DataError, match=message):
        ids_of(Shards("a.tar", root=tmp_path))
    shards = Shards("a.tar", root=tmp_path, on_bad="skip")
    assert (shards[0].captions, shards[1].captions) == (("x",), ())
    with pytest.raises(ImageError, match=message):
        shards.photo(1)
