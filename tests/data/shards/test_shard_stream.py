from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from captioner.data.loader import ResumableLoader
from captioner.data.shards.shard_dataset import Shards, StoredSample
from captioner.data.shards.shard_stream import StreamedDataset, StreamedRequest
from captioner.data.torch_dataset import PhotoInputs, SampleRequest
from captioner.errors import UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose
from tests.data.pixels import pixels
from tests.data.shards.scene_shards import SCENES, SIZE, indices, order
from tests.data.test_datamodule import TOKENIZER, TRANSFORM, module

STREAMED = (
    *(setting for setting in TINY if not setting.startswith("data.")),
    "data=shards", "data.batch_size=4", "data.num_workers=2", "data.shuffle_buffer=8",
    "model.decoder.mlp_ratio=2", "model.decoder.dropout=0", "model.decoder.max_length=32",
    "encoder=tiny", "trainer.max_epochs=2", "optim.warmup=0", "optim.final_lr=1", "validate_captions=12",
)  # fmt: skip


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
        requests = [request for batches in own for batch in batches for request in batch]
        seen = [request.request.index for request in requests if request.sample is not None]
        assert sorted(seen) == list(range(SIZE))
        for request in requests:
            assert request.request.counts == (request.sample is not None)
            if request.sample is not None:
                assert request.sample.captions == SCENES[request.request.index].captions
                assert request.request.epoch == epoch


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


def test_reading_does_not_exceed_the_buffer(folder: Path) -> None:
    opened: list[int] = []

    class Recording(Shards):
        def read(self, shard: int, *, photos: bool = True) -> Iterator[StoredSample]:
            opened.append(shard)
            return super().read(shard, photos=photos)

    shards = Recording("*.tar", root=folder)
    for skip in (0, 20):
        opened.clear()
        batches = order(shards, batch_size=1, buffer=2).batches(0, skip=skip)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        # The buffer and the batches read in advance, of the five shards; used samples are not read again.
        assert 1 <= len(opened) <= 3


def test_two_ranks_of_two_workers_give_each_image_once_an_epoch(folder: Path) -> None:
    shards = Shards("*.tar", root=folder)
    whole = None
    for workers in (0, 2):
        seen: Counter[tuple[int, int]] = Counter()
        everything = []
        for rank in range(2):
            data = module(train=shards, num_workers=workers, shuffle_buffer=6)
            data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
            loader = data.train_dataloader()
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
                            assert torch.equal(pixels(batch)[row], expected)
        assert seen == {(epoch, index): 1 for epoch in range(2) for index in range(SIZE)}
        if whole is not None:
            for one, other in zip(whole, everything, strict=True):
                assert torch.equal(pixels(one), pixels(other))
                assert torch.equal(one.tokens, other.tokens)
        whole = everything


def test_training_streams_and_resumes_in_the_middle_of_an_epoch(prepared: Path, tmp_path: Path) -> None:
    def run_to(name: str, *more: str) -> dict[str, torch.Tensor]:
        out = tmp_path / name
        fit(compose("train", *STREAMED, f"data.root={prepared}", f"output_dir={out}", *more))
        state: dict[str, torch.Tensor] = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
        return state

    whole = run_to("whole")
    every = "+trainer.val_check_interval=2"
    run_to("cut", "+trainer.max_steps=8", every)  # 6 batches an epoch: 2 of the second are used
    place = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["CaptionDataModule"]
    assert (place["epoch"], place["done"]) == (1, 2)
    shutil.copytree(tmp_path / "cut", tmp_path / "stopped")
    resumed = run_to("cut", every, f"resume={tmp_path / 'cut'}", "data.num_workers=0")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    with pytest.raises(UsageError, match=r"middle of an epoch.+batch_size was 4 and is 3"):
        run_to("other", f"resume={tmp_path / 'stopped'}", "data.batch_size=3")


def test_padding_has_no_captions() -> None:
    streamed = StreamedDataset(
        partial(PhotoInputs, transform=TRANSFORM, augment=None),
        TOKENIZER,
        captions_per_image=None,
        max_tokens=9,
        seed=0,
        on_bad="stop",
    )
    sample = streamed[StreamedRequest(SampleRequest(0, 0, counts=False), None)]
    assert sample.captions == ()
    assert sample.fault is None
