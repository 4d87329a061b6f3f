"""The torchrun commands of docs/scale.md, on one machine and, simulated on this one, on two."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import TINY

SMALL = (
    *TINY,
    "data.train.size=16",
    "data.val.size=4",
    "threads=1",
    "trainer=ddp_cpu",
    "trainer.precision=32-true",
)


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_torchrun_trains_on_one_machine(tmp_path: Path) -> None:
    of_torchrun = ("--standalone", "--nproc-per-node", "2", "-m", "captioner.train")
    process = torchrun(*of_torchrun, *SMALL, "trainer.max_epochs=1", f"output_dir={tmp_path}")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.count("16 training and 4 validation images") == 1, "only the first process prints"
    assert (tmp_path / "model.safetensors").is_file()


def test_torchrun_trains_on_two_machines_and_both_end_when_a_process_dies(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    of_torchrun = (
        "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}",
        "-m", "captioner.train", *SMALL, "trainer.devices=1", "trainer.num_nodes=2",
    )  # fmt: skip
    machines = [torchrun(*of_torchrun, "trainer.max_epochs=1000", f"output_dir={tmp_path}") for _ in range(2)]
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (tmp_path / "last.ckpt").exists(), "no epoch was trained and validated"
        (worker,) = Path(f"/proc/{machines[1].pid}/task/{machines[1].pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        outputs = [machine.communicate(timeout=60)[1] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert all(machine.returncode for machine in machines)
    assert "exitcode  : -9" in outputs[1]
    assert "process 0 of 2" in outputs[0]
