"""Small shards for tests: pictures of `scenes`, and shards as other tools write them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

from captioner.data.scenes import Scenes
from captioner.data.shards.shard_dataset import Shards
from captioner.data.shards.shard_stream import ShardOrder, StreamedRequest
from captioner.data.shards.shard_writer import write_shard

SIZE = 23
SCENES = Scenes("train", size=SIZE, image_size=32)
SMALL = ("data.train.size=24", "data.val.size=12", "data.image_size=32")


def write(folder: Path, number: int, on_bad: str = "stop"):  # type: ignore[no-untyped-def]
    return write_shard(SCENES, folder, "train", number, per_shard=5, check=True, on_bad=on_bad)


def order(shards: Shards, **settings: int) -> ShardOrder:
    return ShardOrder(shards, settings.pop("batch_size", 3), **{"buffer": 6, **settings})


def indices(batches: list[list[StreamedRequest]]) -> list[list[int]]:
    return [[request.request.index for request in batch] for batch in batches]


def foreign(path: Path, records: dict[str, dict[str, Any]]) -> Path:
    """A shard as other tools write it: keys repeat in every shard."""
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


def prepare(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[3] / "scripts" / "prepare_shards.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
