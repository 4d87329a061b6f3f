"""Sharded models equal unsharded ones in training, in validation and after a resume."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from PIL import Image
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

import captioner
from captioner.bundle import load
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.training.distributed.sharding import gather_decoder, repeated_blocks, shard
from captioner.training.fit import fit
from captioner.training.recompute import recompute_activations
from tests.conftest import TINY, compose

STEADY = (
    *TINY, "model.dropout=0", "model.decoder.dropout=0", "trainer.max_epochs=2", "+trainer.log_every_n_steps=1",
    "optim.warmup=0", "optim.final_lr=1", "encoder=timm", "encoder.name=test_vit", "encoder.weights=null",
    "encoder.trainable=all",
)  # fmt: skip
SPLIT = ("trainer=ddp_cpu", "trainer.precision=32-true", "trainer.strategy=fsdp", "data.batch_size=4")
EVERY = "+trainer.val_check_interval=3"

# One of two ranks, with all the runs of these tests: imports take longer than the runs.
RANK = """
import json, os, sys
from pathlib import Path
from torch.distributed.tensor import DTensor
from captioner.training.fit import fit
from captioner.training.module import CaptionModule
from tests.conftest import compose

def write_sizes(self):
    trained = [p for p in self.captioner.parameters() if p.requires_grad]
    state = [s["exp_avg"] for s in self.optimizers().optimizer.state.values()]
    sizes = {
        "sharded": all(isinstance(t, DTensor) for t in trained + state),
        "weights": sum(p.numel() for p in trained),
        "own": sum(p.to_local().numel() for p in trained),
        "state": sum(s.to_local().numel() for s in state),
    }
    Path(f"rank-{self.global_rank}.json").write_text(json.dumps(sizes))

CaptionModule.on_train_end = write_sizes
for port, overrides in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)  # that of the previous group may still be open in the other rank
    fit(compose("train", *overrides))
"""


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of runs: one process; two with sharded weights; the same stopped after 9 of 12 steps and resumed."""
    folder = tmp_path_factory.mktemp("sharded")
    two = (*STEADY, *SPLIT)
    commands = [
        [*two, f"output_dir={folder / 'two'}"],
        [*two, "+trainer.max_steps=9", EVERY, f"output_dir={folder / 'cut'}"],
        [*two, EVERY, f"resume={folder / 'cut'}", f"output_dir={folder / 'cut'}"],
    ]
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in commands]
        for one in free:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in free]
    given = json.dumps(list(zip(ports, commands, strict=True)))
    root = Path(__file__).parents[3]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, given],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
                "OMP_NUM_THREADS": "1",
                "TORCHELASTIC_RUN_ID": "test",  # as under torchrun: Lightning does not start the other ranks
                "MASTER_ADDR": "127.0.0.1",
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "GROUP_RANK": "0",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            },
        )
        for rank in range(2)
    ]
    fit(compose("train", *STEADY, "data.batch_size=8", f"output_dir={folder / 'one'}"))
    for rank in ranks:
        _, err = rank.communicate(timeout=300)
        assert rank.returncode == 0, err
    return folder


def test_two_processes_have_the_losses_and_scores_of_one_with_the_doubled_batch(runs: Path) -> None:
    losses = column(runs / "one", "train/loss")
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert column(runs / "two", "train/loss") == pytest.approx(losses, abs=1e-4)
    for name in ("val/loss", "val/CIDEr-D", "val/BLEU-1", "val/distinct"):
        assert column(runs / "two", name) == pytest.approx(column(runs / "one", name), abs=1e-4), name


def test_each_process_holds_half_of_what_is_trained(runs: Path) -> None:
    parts = [json.loads((runs / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert all(part["sharded"] for part in parts)
    whole = parts[0]["weights"]
    for held in ("own", "state"):
        assert sum(part[held] for part in parts) == whole
        # Weights whose first axis is 1, such as class tokens, are in one process.
        assert all(0.45 < part[held] / whole < 0.55 for part in parts), parts


def test_the_model_file_captions(runs: Path) -> None:
    model = captioner.load(runs / "two" / "model.safetensors")
    caption = model.caption(Image.new("RGB", (40, 40), "red"))[0]
    assert caption.words
    weights = torch.load(runs / "two" / "last.ckpt", weights_only=True)["state_dict"]
    own = load(runs / "one" / "model.safetensors").captioner.state_dict()
    assert {name.removeprefix("captioner.") for name in weights} == set(own)


def test_a_resumed_run_ends_with_the_same_weights(runs: Path) -> None:
    whole, cut = (torch.load(runs / name / "last.ckpt", weights_only=True) for name in ("two", "cut"))
    assert whole["global_step"] == cut["global_step"] == 12
    assert whole["state_dict"].keys() == cut["state_dict"].keys()
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][name]), name


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A mesh of this process only: weights are sharded into one part."""
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def small(encoder: str, trainable: str = "all") -> Captioner:
    torch.manual_seed(0)
    return Captioner(
        ImageEncoder(encoder, [64, 64], trainable=trainable),
        TransformerDecoder(20, 16, depth=2, num_heads=2, dropout=0),
        dropout=0,
        image_depth=1,
        image_heads=2,
    )


def learn(model: Captioner) -> dict[str, Tensor]:
    """Weights after two steps."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        gather_decoder(model)
        pixels, tokens = (
            torch.rand(2, 3, 64, 64, generator=draw),
            torch.randint(20, (2, 2, 5), generator=draw),
        )
        model.decoder(tokens, model.encode(pixels).features).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    state = model.state_dict()
    return {name: v.full_tensor() if isinstance(v, DTensor) else v for name, v in state.items()}


@pytest.mark.parametrize(
    ("encoder", "trainable"),
    [
        ("test_vit", "all"),
        ("test_vit", "blocks.3"),
        ("test_resnet", "all"),
        ("test_convnext", "all"),
        ("test_efficientnet", "all"),
        ("resnet10t", "none"),
    ],
)
def test_a_sharded_model_has_equal_updates(encoder: str, trainable: str, mesh: DeviceMesh) -> None:
    expected = learn(small(encoder, trainable).train())
    model = small(encoder, trainable).train()
    shard(model, mesh)
    shard(model, mesh)  # changes nothing
    assert all(isinstance(p, DTensor) == p.requires_grad for p in model.parameters() if p.numel())
    for name, value in learn(model).items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_activations_of_a_sharded_encoder_may_be_recomputed(mesh: DeviceMesh) -> None:
    expected = learn(small("test_vit").train())
    model = small("test_vit").train()
    recompute_activations(model.encoder)
    shard(model, mesh)
    for name, value in learn(model).items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_a_search_in_training_uses_the_current_weights(mesh: DeviceMesh) -> None:
    """Also in bfloat16, which caches cast weights by version: gathering does not change the version."""
    model = small("test_vit", "none").eval()
    shard(model, mesh)
    decoder = model.decoder
    assert isinstance(decoder, FSDPModule)
    memory, tokens = torch.rand(1, 4, 16), torch.ones(1, 1, 3, dtype=torch.int64)

    def step() -> Tensor:
        gather_decoder(model)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits, _ = decoder.step(tokens[:, :, 0], decoder.init_cache(memory))
        decoder.reshard()
        return logits.float()

    before = step()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(-1)
    assert not torch.allclose(step(), before, atol=1e-2)


@pytest.mark.parametrize(
    ("encoder", "count"), [("vit_tiny_patch16_224", 12), ("resnet10t", 0), ("resnet18", 8)]
)
def test_repeated_blocks_of_encoders(encoder: str, count: int) -> None:
    blocks = repeated_blocks(ImageEncoder(encoder, [64, 64]))
    assert len(blocks) == count
    assert len({type(block) for block in blocks}) <= 1
