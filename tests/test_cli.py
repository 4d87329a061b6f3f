"""How do the commands start, help and fail?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.bundle import load
from captioner.cli import conf_dir
from tests.conftest import TINY, Finished

Command = Callable[..., Finished]

GROUPS = {
    folder.name: [path.stem for path in sorted(folder.glob("*.yaml"))]
    for folder in sorted(conf_dir().iterdir())
    if folder.is_dir()
}


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "score", "doctor"])
def test_help_explains_and_needs_no_torch(name: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['captioner.{name}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('captioner.{name}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print(sorted({'torch', 'lightning', 'timm', 'numpy', 'PIL'} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = process("-c", code)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert f"  python -m captioner.{name} " in done.stdout
    assert "Settings (setting=value" in done.stdout
    taken = re.findall(r"^  - (?:override )?(\w+): ", (conf_dir() / f"{name}.yaml").read_text("utf-8"), re.M)
    for group, options in GROUPS.items():
        listed = re.search(rf"^{group}: (.*)$", done.stdout, re.M)
        assert (listed is not None) == (name == "train" or group in taken)
        if listed:
            assert sorted(listed[1].split(", ")) == options


def test_a_reader_who_has_seen_enough_of_the_help_is_no_error() -> None:
    arguments = [sys.executable, "-u", "-m", "captioner.train", "--help"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.close()
        assert reader.stderr.read() == ""
    assert reader.returncode == 0


def test_a_slip_ends_the_process_with_one_sentence_and_status_2(tmp_path: Path) -> None:
    done = process("-m", "captioner.train", "data=flickr8k", cwd=tmp_path)
    message = "error: these settings need a value: data.root; add data.root=... to the command\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert not list(tmp_path.glob("runs/*/model.safetensors"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["data=flickr8k", "data.root=no where"], "root of Flickr8k: no where does not exist"),
        ("train", ["encoder=timm"], "these settings need a value: encoder.name; add encoder.name=..."),
        ("predict", [], "these settings need a value: model, images; add model=... images=... to the command"),
        ("evaluate", [], "these settings need a value: model; add model=..."),
        ("train", ["nonsense=1"], "Could not override 'nonsense'"),
        ("train", ["optim.learning_rate=1"], "Could not override 'optim.learning_rate'"),
        ("train", ["data=imagenet"], "Could not find 'data/imagenet'; Available options in 'data': coco; flickr30k"),
        ("train", ["logger=null"], "logger=null names no option of the group logger; choose from csv, tensorboard"),
        ("train", ["encodr=resnet50"], "Could not override 'encodr'"),
        ("train", ["optim.lr"], "optim.lr"),
        ("train", ["optim.lr=fast"], "optim.lr=fast must be a number, as in optim.lr=0.0"),
        ("train", ["data.batch_size=2.5"], "data.batch_size=2.5 must be a whole number"),
        ("train", ["data.batch_size=true"], "data.batch_size=True must be a whole number"),
        ("train", ["encoder.accept_license=yes"], "encoder.accept_license=yes must be true or false"),
        ("predict", ["model=m", "images=i", "beam_size=many"], "beam_size=many must be a whole number"),
        ("evaluate", ["model=m", "page=all"], "page=all must be a whole number"),
        ("train", ["trainer.max_epochs=1", "hydra.run.dir=/dev/null/x"], "/dev/null/x"),
        ("predict", ["model=m", "images=${x}"], "Interpolation key 'x' not found"),
        ("train", ["-m", "trainer=ddp_cpu", "optim.lr=1e-3,2e-3"], "trainer.devices=2; add trainer.devices=1"),
    ],
)  # fmt: skip
def test_slips_are_named(
    name: str,
    arguments: list[str],
    message: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(name, *arguments)
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1, "more than one line"
    assert done.out == ""


def test_numbers_may_be_written_in_any_way(command: Command, tmp_path: Path) -> None:
    """What is refused is another kind, not another spelling: the run gets as far as the missing model."""
    done = command("predict", f"model={tmp_path}/m", f"images={__file__}", "length_penalty=1", "beam_size=+3")
    assert "length_penalty" not in done.err
    assert "beam_size" not in done.err


def test_a_sweep_gives_every_run_its_own_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("train", "-m", *TINY, "trainer.max_epochs=1", "output_dir=a sweep", "optim.lr=1e-3,2e-3")
    assert done.status == 0
    for number, rate in enumerate([1e-3, 2e-3]):
        card = load(tmp_path / "a sweep" / str(number) / "model.safetensors").card
        assert card["settings"]["optim"]["lr"] == rate
        assert f"model   a sweep/{number}/model.safetensors\n" in done.out
        assert (tmp_path / "a sweep" / str(number) / "config" / "overrides.yaml").is_file()


def test_a_training_run_says_what_it_does_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own, for a warning is shown once per process."""
    settings = [*TINY, "trainer.max_epochs=2", "samples=1", "output_dir=run"]
    done = process(
        "-m", "captioner.train", *settings, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0
    announced, *epochs = done.stderr.splitlines()
    assert announced.startswith("48 training and 12 validation images, ")
    assert [line[:10] for line in epochs] == ["epoch 1/2 ", "epoch 2/2 "]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["model", "scores", "next"]
    assert (tmp_path / "run" / "model.safetensors").is_file()
