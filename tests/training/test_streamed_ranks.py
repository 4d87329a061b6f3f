"""Streamed shards in two ranks of two workers each: every sample once per epoch, also after a resume."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from captioner.data.batch import CaptionBatch
from captioner.data.scenes import Scenes
from captioner.data.shards.shard_writer import write_index, write_shard
from captioner.train import train
from captioner.training.module import CaptionModule
from tests.conftest import TINY, compose
from tests.training.rank_processes import train_ranks

SIZE = 23
STREAMED = (
    *(setting for setting in TINY if not setting.startswith("data.")),
    "data=shards", "data.batch_size=3", "data.num_workers=2", "data.shuffle_buffer=8",
    "model.decoder.mlp_ratio=2", "model.decoder.dropout=0", "model.decoder.max_length=32",
    "encoder=tiny", "encoder.trainable=none", "trainer=ddp_cpu", "trainer.precision=32-true", "trainer.max_epochs=2",
    "threads=1", "optim.warmup=0", "optim.final_lr=1", "validate_captions=4", "model.dropout=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training scenes in five shards of five, the last of three, and four for validation."""
    folder = tmp_path_factory.mktemp("shards")
    scenes = {"train": Scenes("train", size=SIZE, image_size=32), "val": Scenes("val", size=4, image_size=32)}
    write_index(
        folder,
        [
            write_shard(dataset, folder, split, number, per_shard=5, check=False, on_bad="stop")
            for split, dataset in scenes.items()
            for number in range(-(-len(dataset) // 5))
        ],
    )
    return folder


def train_and_record(cfg: DictConfig) -> int:
    """Train, and write epoch, world size and images of each training batch to this rank's file."""
    step = CaptionModule.training_step

    def recorded(module: CaptionModule, batch: CaptionBatch, batch_idx: int) -> Tensor:
        has_captions = (batch.tokens != module.pad_id).flatten(1).any(dim=1)
        images = batch.indices[has_captions].tolist()
        with (Path(cfg.output_dir) / f"seen-{module.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps([module.current_epoch, module.trainer.world_size, images]) + "\n")
        return step(module, batch, batch_idx)

    CaptionModule.training_step = recorded  # type: ignore[method-assign,assignment]
    return train(cfg)


def stream(shards: Path, folder: Path, *more: str) -> tuple[list[list[Any]], dict[str, Tensor]]:
    """The batches of each rank since the folder was created, and the weights."""
    train_ranks(
        compose("train", *STREAMED, f"data.root={shards}", f"output_dir={folder}", *more), train_and_record
    )
    seen = [
        [json.loads(line) for line in (folder / f"seen-{rank}.jsonl").read_text().splitlines()]
        for rank in (0, 1)
    ]
    return seen, torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def whole(
    shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[Any]], dict[str, Tensor]]:
    """Two uninterrupted epochs."""
    return stream(shards, tmp_path_factory.mktemp("whole"))


def test_every_sample_is_used_once_per_epoch(whole: tuple[list[list[Any]], dict[str, Tensor]]) -> None:
    seen, _ = whole
    assert {processes for rank in seen for _, processes, _ in rank} == {2}
    assert len(seen[0]) == len(seen[1]) == 8
    counted = Counter((epoch, image) for rank in seen for epoch, _, images in rank for image in images)
    assert counted == {(epoch, image): 1 for epoch in range(2) for image in range(SIZE)}


def test_a_run_stopped_within_an_epoch_resumes_with_the_rest_of_it(
    whole: tuple[list[list[Any]], dict[str, Tensor]], shards: Path, tmp_path: Path
) -> None:
    often = "+trainer.val_check_interval=2"  # of four batches an epoch and rank
    before, _ = stream(shards, tmp_path, "+trainer.max_steps=6", often)
    assert [len(rank) for rank in before] == [6, 6]
    after, weights = stream(shards, tmp_path, often, f"resume={tmp_path}")
    assert after == whole[0]
    for name, value in whole[1].items():
        assert torch.equal(value, weights[name]), name
