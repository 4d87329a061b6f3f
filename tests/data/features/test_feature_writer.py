"""Several processes that write one cache, one of which is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from captioner.data.torch_dataset import SampleRequest
from tests.data.features.test_feature_cache import Folder, stored, write

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys, time
from pathlib import Path
import torch
from captioner.data.features.feature_writer import write_features
from captioner.data.torch_dataset import PhotoInputs
from tests.data.features.test_feature_cache import AUGMENT, TRANSFORM, Folder, encoder, stored

class Slow(PhotoInputs):
    def __call__(self, request, generator):
        time.sleep(float(sys.argv[3]))
        return super().__call__(request, generator)

def report_shards(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(".npy"):
        print(Path(arguments[1]).name, flush=True)

features = stored(Folder(Path(sys.argv[1]), 12), Path(sys.argv[2]))
sys.addaudithook(report_shards)
print("ready", flush=True)
sys.stdin.readline()
slow = Slow(features.dataset, TRANSFORM, AUGMENT)
write_features(features, slow, encoder(), device=torch.device("cpu"), show=False)
"""


def start(photos: Path, folder: Path, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(photos), str(folder), str(pause)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    return out.split()


def test_processes_share_the_work_and_survive_a_kill(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    dataset = Folder(photos, 12)
    alone = stored(dataset, tmp_path / "alone")
    write(alone)

    features = stored(dataset, tmp_path / "together")
    doomed, other = (start(photos, tmp_path / "together", pause) for pause in (9.0, 0.05))
    for process in (doomed, other):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go(doomed)
    # It writes its first shard, under a lock; a partial file is left as by a kill during writing.
    deadline = time.monotonic() + 120
    while not (features.folder / "00000.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (features.folder / ".00000.npy.half").write_bytes(b"half of it")
    go(other)
    while not features.path(1).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not features.path(0).exists(), "claimed by another process"
    doomed.send_signal(signal.SIGKILL)
    assert lines(doomed) == []
    # Shard 0 comes last: it was free only after the kill. No shard is written twice.
    written = lines(other)
    assert other.returncode == 0
    assert sorted(written) == [f"{shard:05d}.npy" for shard in range(6)]
    assert written[0] == "00001.npy"
    assert sorted(path.name for path in features.folder.iterdir()) == [*sorted(written), "description.json"]
    for shard in range(6):
        assert features.path(shard).read_bytes() == alone.path(shard).read_bytes()


def test_writing_continues_with_the_missing_shards(tmp_path: Path) -> None:
    features = stored(Folder(tmp_path / "photos"), tmp_path)
    write(features)
    kept = features.path(0).stat()
    features.path(1).unlink()
    write(features)
    assert list(features.missing()) == []
    assert features.path(0).stat() == kept
    assert features(SampleRequest(0, 3), torch.Generator()).shape == features.like.features.shape[1:]
