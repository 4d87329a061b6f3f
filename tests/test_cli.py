"""Tests of how the commands start, print help and fail."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from captioner.__main__ import COMMANDS
from captioner.bundle import load
from captioner.cli import render_help, run
from captioner.composition import compose_defaults, groups_of, nodes, options
from captioner.errors import CaptionerError, UsageError
from tests.conftest import TINY, Finished

Command = Callable[..., Finished]
CONFIGURED = [name for name in COMMANDS if name != "search"]
SLOW = {"torch", "lightning", "timm", "numpy", "PIL", "hydra", "omegaconf", "antlr4", "optuna"}
"""Packages without which `--help` takes a third of a second."""


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.mark.parametrize("module", ["__main__", *COMMANDS])
def test_help_imports_nothing_slow(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['captioner.{module}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('captioner.{module}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        f"    print(sorted({SLOW} & sys.modules.keys()), file=sys.stderr)\n"
    )
    done = process("-c", code)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert f"captioner.{'train' if module == '__main__' else module}" in done.stdout


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_is_complete(name: str) -> None:
    text = render_help(name)
    assert f"  python -m captioner.{name} " in text
    for group in groups_of(name):
        listed = re.search(rf"^{group}: (.*)$", text, re.M)
        assert listed is not None
        assert listed[1].split(", ") == options(group)
    for setting, _ in nodes(compose_defaults(name).settings):
        assert re.search(rf"^ *{re.escape(setting.rpartition('.')[2])}:", text, re.M)
    assert "$" not in re.sub(r"\$\{[\w.]+(:.*)?\}", "", text)


def test_help_shows_settings_as_the_arguments_change_them() -> None:
    text = render_help("train", ["data=flickr8k", "decoder=lstm", "optim.lr=2e-4", "data.root=my photos"])
    for line in ("recipe: flickr8k_lstm", "  name: mobilenetv2_100", "  lr: 0.0002", "  root: my photos"):
        assert f"\n{line}\n" in text


def test_the_commands_are_listed_and_a_misspelt_one_gets_the_nearest() -> None:
    listed = process("-m", "captioner")
    assert listed.returncode == 0
    assert process("-m", "captioner", "--help").stdout == listed.stdout
    for name in COMMANDS:
        assert importlib.import_module(f"captioner.{name}").main
        assert f"python -m captioner.{name} " in listed.stdout
    wrong = process("-m", "captioner", "tarin")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("; did you mean train?\n")
    assert "captioner.predict" in process("-m", "captioner", "predict").stderr


def test_a_program_that_captions_imports_neither_hydra_nor_lightning(tiny_model: Path) -> None:
    code = (
        "import sys, numpy, captioner\n"
        f"captioner.load({str(tiny_model)!r}).caption([numpy.zeros((32, 32, 3), numpy.uint8)])\n"
        "print(sorted({'hydra', 'omegaconf', 'lightning'} & sys.modules.keys()))\n"
    )
    done = process("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_help_into_a_closed_pipe_is_no_error() -> None:
    arguments = [sys.executable, "-u", "-m", "captioner.train", "--help"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.close()
        assert reader.stderr.read() == ""
    assert reader.returncode == 0


def test_a_mistake_ends_the_process_with_one_line_and_status_2(tmp_path: Path) -> None:
    done = process("-m", "captioner.train", "data=flickr8k", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ")
    assert "data.root=..." in done.stderr
    assert not list(tmp_path.glob("runs/*/model.safetensors"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["data=flickr8k", "data.root=no where"], "no where"),
        ("train", ["encoder=timm"], "encoder.name=..."),
        ("predict", [], "model=... images=..."),
        ("evaluate", [], "model=..."),
        ("train", ["nonsense=1"], "nonsense"),
        ("train", ["modle=x"], "did you mean model?"),
        ("train", ["data=imagenet"], "data=imagenet; choose from coco, flickr30k"),
        ("train", ["logger=null"], "choose from csv, tensorboard"),
        ("train", ["optim.lr"], "optim.lr"),
        ("train", ["optim.lr=fast"], "optim.lr=fast must be a number, as in optim.lr=0.0"),
        ("train", ["data.batch_size=2.5"], "data.batch_size=2.5 must be a whole number"),
        ("train", ["data.batch_size=true"], "data.batch_size=True must be a whole number"),
        ("train", ["encoder.accept_license=yes"], "encoder.accept_license=yes must be true or false"),
        ("train", ["model.decoder.num_kv_heads=two"], "decoder.num_kv_heads='two'"),
        ("train", ["strategy=fsdp"], "trainer=fsdp"),
        ("predict", ["model=m", "images=i", "beam_size=many"], "beam_size=many must be a whole number"),
        ("evaluate", ["model=m", "page=all"], "page=all must be a whole number"),
        ("train", ["trainer.max_epochs=1", "hydra.run.dir=occupied/x"], "occupied/x"),
        ("predict", ["model=m", "images=${x}"], "'x'"),
        ("train", ["-m", "trainer=ddp_cpu", "optim.lr=1e-3,2e-3"], "trainer.devices=1"),
        ("train", ["optim.lr=[1"], "optim.lr=[1"),
    ],
)  # fmt: skip
def test_mistakes_are_named(
    name: str,
    arguments: list[str],
    message: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").touch()
    done = command(name, *arguments)
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1, "more than one line"
    assert (
        not re.search("hydra|override|compose", done.err, re.IGNORECASE) or "hydra.run.dir" in arguments[-1]
    )
    assert done.out == ""


def test_a_number_may_be_written_in_other_ways(command: Command, tmp_path: Path) -> None:
    """Only another kind of value is refused: the run gets as far as the missing model."""
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


def test_output_of_a_training_run(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (UsageError("the folder x is missing"), 2, "error: the folder x is missing\n"),
        (CaptionerError("the loss is nan"), 1, "error: the loss is nan\n"),
        (OSError(28, "No space left on device", "out/x"), 2, "error: out/x: No space left on device"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_an_error_ends_a_command_with_one_line(
    raised: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def task(cfg: DictConfig) -> int:
        raise raised

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["captioner.predict", "model=m", "images=i"])
    with pytest.raises(SystemExit) as leaving:
        run(task, "predict")
    assert leaving.value.code == status
    assert capsys.readouterr().err.startswith(message)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["captioner.predict", "model=m", "images=i"])
    with pytest.raises(ZeroDivisionError):
        run(lambda cfg: 1 // 0, "predict")
