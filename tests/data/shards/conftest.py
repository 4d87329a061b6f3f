from __future__ import annotations

from pathlib import Path

import pytest

from captioner.data.shards.shard_writer import write_index
from tests.data.shards.scene_shards import SMALL, prepare, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in five shards of five, the last of three, with an index."""
    made = tmp_path_factory.mktemp("shards")
    shards = [write(made, number) for number in range(5)]
    write_index(made, shards)
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("prepared")
    done = prepare("data=scenes", *SMALL, "--splits", "train,val", "--per-shard", "7", "--out", str(made))
    assert done.returncode == 0, done.stderr
    assert "36 samples in 6 shards" in done.stdout
    return made
