"""Do shards give what was put into them, in every order of reading, once an epoch, and after every stop?"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.data.loader import ResumableLoader
from captioner.data.scenes import Scenes
from captioner.data.shards.shard_stream import ShardOrder, StreamedDraw
from captioner.data.shards.shard_writer import write_index, write_shard
from captioner.data.shards.shards import Shards
from captioner.data.torch_dataset import Draw, Photos
from captioner.errors import DataError, ImageError, UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose
from tests.data.test_datamodule import TOKENIZER, TRANSFORM, module

SIZE = 23
SCENES = Scenes("train", size=SIZE, image_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in five shards of five, the last of three, with an index."""
    made = tmp_path_factory.mktemp("shards")
    shards = [write(made, number) for number in range(5)]
    write_index(made, shards)
    return made


def write(folder: Path, number: int, on_bad: str = "stop"):  # type: ignore[no-untyped-def]
    return write_shard(SCENES, folder, "train", number, per_shard=5, check=True, on_bad=on_bad)


def order(shards: Shards, **settings: int) -> ShardOrder:
    return ShardOrder(shards, settings.pop("batch_size", 3), **{"buffer": 6, **settings})


def test_samples_are_those_that_were_written(folder: Path) -> None:
    shards = Shards("train-{000000..000004}.tar", root=folder)
    assert len(shards) == SIZE
    for index in [*range(SIZE), 0, 22, 11]:  # more shards than are kept
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
    with pytest.raises(UsageError, match="is read from front to back alone; name files for validation"):
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
    with pytest.raises(
        DataError, match=r"a shard: \S+index\.json, which leads to \S+index\.json, lies outside"
    ):
        Shards("copy.tar", root=tmp_path)
    assert len(Shards(f"pipe:cat {folder}/train-000000.tar", root=tmp_path)) == 5


def test_an_index_of_changed_shards_is_not_believed(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    for path in folder.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    index["shardlist"][0] |= {"nsamples": 99, "filesize": 7}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert len(Shards("*.tar", root=tmp_path)) == SIZE
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        Shards("train-00000[01].tar", root=tmp_path / ".." / tmp_path.name)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("buffer", [1, 6, 100])
def test_every_sample_is_seen_once_an_epoch_and_steps_are_equal(
    folder: Path, world_size: int, buffer: int
) -> None:
    shards = Shards("*.tar", root=folder)
    orders = [order(shards, buffer=buffer, rank=r, world_size=world_size) for r in range(world_size)]
    for epoch in (0, 1):
        own = [list(one.batches(epoch)) for one in orders]
        assert {len(batches) for batches in own} == {len(orders[0])}
        assert len({tuple(map(len, batches)) for batches in own}) == 1
        draws = [draw for batches in own for batch in batches for draw in batch]
        seen = [draw.draw.index for draw in draws if draw.sample is not None]
        assert sorted(seen) == list(range(SIZE))
        for draw in draws:
            assert draw.draw.counts == (draw.sample is not None)
            if draw.sample is not None:
                assert draw.sample.captions == SCENES[draw.draw.index].captions
                assert draw.draw.epoch == epoch


def indices(batches: list[list[StreamedDraw]]) -> list[list[int]]:
    return [[draw.draw.index for draw in batch] for batch in batches]


def test_the_order_is_shuffled_by_seed_and_epoch_alone(folder: Path) -> None:
    shards = Shards("*.tar", root=folder)
    first = indices(list(order(shards).batches(0)))
    assert indices(list(order(shards).batches(0))) == first
    assert indices(list(order(shards).batches(1))) != first
    assert indices(list(order(shards, seed=1).batches(0))) != first
    flat = [index for batch in first for index in batch]
    assert sum(abs(a - b) == 1 for a, b in pairwise(flat)) < 10


@pytest.mark.parametrize("buffer", [1, 6, 100])
def test_after_any_stop_exactly_the_rest_is_read(folder: Path, buffer: int) -> None:
    shards = Shards("*.tar", root=folder)
    for rank in (0, 1):
        one = order(shards, buffer=buffer, rank=rank, world_size=2)
        whole = indices(list(one.batches(3)))
        for skip in range(len(whole) + 1):
            assert indices(list(one.batches(3, skip=skip))) == whole[skip:]


def test_no_more_is_held_than_the_buffer(folder: Path) -> None:
    shards = Shards("*.tar", root=folder)
    opened: list[int] = []
    read = shards.read

    def noting(shard: int, *, photos: bool = True):  # type: ignore[no-untyped-def]
        opened.append(shard)
        return read(shard, photos=photos)

    shards.read = noting  # type: ignore[method-assign]
    draws = order(shards, buffer=2)._draws(0, 0)
    next(draws)
    assert len(opened) == 1
    opened.clear()
    resumed = order(shards, buffer=2)._draws(0, 20)
    next(resumed)
    assert len(opened) <= 2, "what was used is not read again"


def test_two_ranks_of_two_workers_give_each_image_once_an_epoch(folder: Path) -> None:
    shards = Shards("*.tar", root=folder)
    whole = None
    for workers in (0, 2):
        seen: Counter[tuple[int, int]] = Counter()
        everything = []
        for rank in range(2):
            data = module(train=shards, num_workers=workers, shuffle_buffer=6)
            loader = data._stream(shards, rank, 2)
            assert isinstance(loader, ResumableLoader)
            for epoch in range(2):
                batches = list(loader)
                assert len(batches) == 6
                for batch in batches:
                    everything.append(batch)
                    for row, index in enumerate(batch.indices.tolist()):
                        if (batch.tokens[row] != TOKENIZER.pad_id).any():
                            seen[epoch, index] += 1
                            expected, _ = TRANSFORM(SCENES.photo(index))
                            assert torch.equal(batch.images[row], expected)
        assert seen == {(epoch, index): 1 for epoch in range(2) for index in range(SIZE)}
        if whole is not None:
            for one, other in zip(whole, everything, strict=True):
                assert torch.equal(one.images, other.images)
                assert torch.equal(one.tokens, other.tokens)
        whole = everything


def test_webdataset_reads_what_was_written(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, folder.glob("*.tar")))
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert len(theirs) == SIZE
    for index, sample in enumerate(theirs):
        assert sample["json"]["captions"] == list(SCENES[index].captions)
        np.testing.assert_array_equal(sample["png"], SCENES.photo(index).pixels)


def test_the_bytes_depend_on_the_dataset_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train-000003.tar").write_bytes(b"there already")
    for number in (2, 0):
        write(tmp_path, number)
        name = f"train-{number:06d}.tar"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


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
    ("spoil", "message", "lost"),
    [
        (cut, r"train-000001\.tar is cut short within member '000000008\.png'", (8, 9)),
        (no_photo, r"train-000001\.tar::000000008 has no photo", (8,)),
        (damaged_photo, r"train-000001\.tar::000000008\.png is a web page", (8,)),
        (bad_json, r"train-000001\.tar::000000008\.json is not JSON", (8,)),
        (no_captions, r"train-000001\.tar::000000008\.json has no captions", (8,)),
    ],
)
def test_what_is_broken_is_named_with_shard_and_member(
    spoil: Break, message: str, lost: tuple[int, ...], indexed: bool, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path / "train-000001.tar")
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
    gone = () if spoil is cut and not indexed else lost
    faults = [fault for batch in batches for fault in batch.faults]
    assert len(faults) == len(gone)
    if not (spoil is cut and not indexed):
        assert sorted(seen) == [index for index in range(SIZE) if index not in lost]
    else:  # what comes after has other numbers: the shard counts three
        assert sorted(seen) == list(range(SIZE - 2))


def test_a_shard_of_another_number_of_samples_is_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    index = json.loads((tmp_path / "index.json").read_text())
    index["shardlist"][2]["nsamples"] = 7
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"train-000002\.tar holds 5 samples, and 7 were counted"):
        list(order(Shards("*.tar", root=tmp_path)).batches(0))


def test_wrong_usage_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.shuffle_buffer=0 must be at least 1"):
        order(Shards("*.tar", root=folder), buffer=0)
    with pytest.raises(UsageError, match=r"data\.on_bad=never must be stop or skip"):
        Shards("*.tar", root=folder, on_bad="never")  # type: ignore[arg-type]


def foreign(path: Path, records: dict[str, dict[str, Any]]) -> Path:
    """A shard as other tools make them: keys that begin anew in every shard."""
    path.parent.mkdir(exist_ok=True)
    photo = io.BytesIO()
    Image.new("RGB", (9, 8)).save(photo, "PNG")
    with tarfile.open(path, "w") as tar:
        for key, record in records.items():
            for suffix, content in (("png", photo.getvalue()), ("json", json.dumps(record).encode())):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def ids_of(shards: Shards) -> list[str]:
    return [shards[index].id for index in range(len(shards))]


def test_keys_that_begin_anew_in_every_shard_are_told_apart(tmp_path: Path) -> None:
    records = {"000": {"caption": "a dog"}, "001": {"caption": "a cat", "id": None}}
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
    message = r"a\.tar::y has the id 7 of an earlier sample of its shard; give every sample an id of its own"
    with pytest.raises(DataError, match=message):
        ids_of(Shards("a.tar", root=tmp_path))
    shards = Shards("a.tar", root=tmp_path, on_bad="skip")
    assert (shards[0].captions, shards[1].captions) == (("x",), ())
    with pytest.raises(ImageError, match=message):
        shards.photo(1)


def prepare(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[3] / "scripts" / "prepare_shards.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300, check=False
    )


SMALL = ("data.train.size=24", "data.val.size=12", "data.image_size=32")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("prepared")
    done = prepare("data=scenes", *SMALL, "--splits", "train,val", "--per-shard", "7", "--out", str(made))
    assert done.returncode == 0, done.stderr
    assert "36 samples in 6 shards" in done.stdout
    return made


def test_preparing_again_keeps_what_is_there_and_refuses_other_data(prepared: Path) -> None:
    before = {path.name: path.read_bytes() for path in prepared.iterdir()}
    (prepared / "train-000001.tar").unlink()
    (prepared / "index.json").unlink()
    arguments = ("--splits", "train,val", "--out", str(prepared))
    again = prepare("data=scenes", *SMALL, "--per-shard", "7", "--processes", "2", *arguments)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in prepared.iterdir()} == before
    other = prepare("data=scenes", *SMALL, "--per-shard", "8", *arguments)
    assert other.returncode == 2
    assert other.stderr.startswith(
        f"error: {prepared} holds train shards of other data, of captions before they were edited, or of another --per"
    )


def test_what_is_left_out_is_named_in_every_run_and_edited_captions_are_noticed(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "images").mkdir(parents=True)
    rows = ["image,caption,split", "gone.png,A dog.,train", "a.png,A dog.,train,too", "a.png,One dog.,train"]
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(root / "images" / f"{name}.png")
    (root / "images" / "page.png").write_text("<html>")
    rows += ["b.png,A cow.,train", "page.png,A page.,train"]
    (root / "captions.csv").write_text("\n".join(rows))
    arguments = (
        "data=table", f"data.root={root}", "data.split_column=split", "data.on_bad=skip", "--on-bad", "skip",
        "--splits", "train", "--out", str(out),
    )  # fmt: skip
    for _ in range(2):
        done = prepare(*arguments)
        assert done.returncode == 0, done.stderr
        assert "2 samples in 1 shards" in done.stdout
        assert "1 unreadable photos left out" in done.stdout
        assert "skipped: " in done.stderr
        assert "page.png is a web page" in done.stderr
        assert "captions.csv:3: 4 columns, and 3 in the header" in done.stderr
        assert "1 image not in the folder, 1 caption without image, 1 faulty entry)" in done.stderr
    (root / "captions.csv").write_text("\n".join(rows).replace("cow", "cat"))
    again = prepare(*arguments)
    assert again.returncode == 2
    assert "of captions before they were edited" in again.stderr


STREAMED = (
    *(setting for setting in TINY if not setting.startswith("data.")),
    "data=shards", "data.batch_size=4", "data.num_workers=2", "data.shuffle_buffer=8", "sizes=transformer_scenes",
    "encoder=tiny", "trainer.max_epochs=2", "optim.warmup=0", "optim.final_lr=1", "validate_captions=12",
)  # fmt: skip


def test_training_streams_and_resumes_in_the_middle_of_an_epoch(prepared: Path, tmp_path: Path) -> None:
    def run_to(name: str, *more: str) -> dict[str, torch.Tensor]:
        out = tmp_path / name
        fit(compose("train", *STREAMED, f"data.root={prepared}", f"output_dir={out}", *more))
        return torch.load(out / "last.ckpt", weights_only=True)["state_dict"]

    whole = run_to("whole")
    every = "+trainer.val_check_interval=2"
    run_to("cut", "+trainer.max_steps=8", every)  # 6 batches an epoch: 2 of the second are used
    place = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["CaptionDataModule"]
    assert (place["epoch"], place["done"]) == (1, 2)
    shutil.copytree(tmp_path / "cut", tmp_path / "stopped")
    resumed = run_to("cut", every, f"resume={tmp_path / 'cut'}", "data.num_workers=0")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    with pytest.raises(
        UsageError, match="in the middle of an epoch, and batch_size was 4 and is 3: samples would be"
    ):
        run_to("other", f"resume={tmp_path / 'stopped'}", "data.batch_size=3")


def test_a_draw_that_fills_up_teaches_nothing() -> None:
    from captioner.data.shards.shard_stream import Streamed

    streamed = Streamed(
        partial(Photos, transform=TRANSFORM, augment=None),
        TOKENIZER,
        captions_per_image=None,
        max_tokens=9,
        seed=0,
        on_bad="stop",
    )
    sample = streamed[StreamedDraw(Draw(0, 0, counts=False), None)]
    assert sample.captions == ()
    assert sample.fault is None
