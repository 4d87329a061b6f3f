"""Several gloo processes give the result of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from captioner.errors import CaptionerError, DataError, UsageError
from captioner.evaluate import evaluate
from captioner.evaluation.distributed import ProcessGroup, run_processes
from tests.conftest import compose

SETTINGS = (
    "data.image_size=48",
    "data.train.size=48",
    "limit=21",
    "batch_size=8",
    "max_length=8",
    "page=4",
    "threads=1",
    "metrics=[BLEU,ROUGE-L,CIDEr-D]",
)


def written(folder: Path) -> tuple[dict[str, Any], str, str]:
    scores = json.loads((folder / "scores.json").read_text())
    del scores["images_per_second"]
    page = (folder / "index.html").read_text()
    entries = page[page.index("<section") : page.rindex("</section>")]
    return scores, (folder / "captions.jsonl").read_text(), entries


def test_torchrun_gives_the_result_of_one_process_to_the_last_digit(tiny_model: Path, tmp_path: Path) -> None:
    settings = (f"model={tiny_model}", *SETTINGS)
    assert evaluate(compose("evaluate", *settings, f"output_dir={tmp_path}/one")) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "captioner.evaluate", *settings, f"output_dir={tmp_path}/two"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "two") == written(tmp_path / "one")
    assert done.stdout.count("scores ") == 1  # only one of them speaks


def test_a_process_without_images_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    settings = (f"model={tiny_model}", *SETTINGS, "limit=5")
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        assert evaluate(compose("evaluate", *settings, f"processes={processes}", f"output_dir={folder}")) == 0
    assert written(tmp_path / "2") == written(tmp_path / "1")


def meet_trouble(cfg: DictConfig, group: ProcessGroup) -> int:
    """A task in which the second process fails in some way."""
    if cfg.trouble == "kill" and group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.trouble == "error" and group.rank == 1:
        raise DataError("one of the images is lost")
    return sum(group.gather(group.rank)) * 10


@pytest.mark.parametrize(("trouble", "status"), [("error", 2), ("kill", None)])
def test_a_process_that_fails_ends_all(
    trouble: str, status: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    cfg = OmegaConf.create({"trouble": trouble})
    before = signal.getsignal(signal.SIGTERM)
    if status is None:
        with pytest.raises(CaptionerError, match=r"process 1 of 2 .* signal 9"):
            run_processes(meet_trouble, cfg, processes=2)
    else:
        assert run_processes(meet_trouble, cfg, processes=2) == status
    assert signal.getsignal(signal.SIGTERM) is before
    assert ("error: one of the images is lost" in capfd.readouterr().err) == (trouble == "error")


def test_torchrun_and_processes_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(UsageError, match=r"torchrun .* processes=2"):
        run_processes(meet_trouble, OmegaConf.create({}), processes=2)
