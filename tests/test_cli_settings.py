from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from captioner.build import as_list, build
from captioner.cli import PATH_SETTINGS, _quoted, conf_dir, run
from captioner.errors import CaptionerError, ModelFileError, UsageError
from captioner.objectives.cross_entropy import CrossEntropy

CROSS_ENTROPY = "captioner.objectives.cross_entropy.CrossEntropy"


def test_conf_dir_holds_the_commands() -> None:
    assert {path.stem for path in conf_dir().glob("*.yaml")} >= {"train", "evaluate", "predict", "score"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("", []),
        ("html", ["html"]),
        ("html, png,", ["html", "png"]),
        (OmegaConf.create(["html", "png"]), ["html", "png"]),
        ([1, " 2 "], ["1", "2"]),
    ],
)
def test_as_list(value: Any, expected: list[str]) -> None:
    assert as_list(value) == expected


# Hydra reads no control characters, and `[...]`, `'...'` and `"..."` are the user's own quoting.
names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda name: name.strip() == name and "${" not in name and name[0] + name[-1] not in ("[]", "''", '""')
)


@given(key=st.sampled_from(PATH_SETTINGS), name=names | st.text(" =,'\"\\{}()[]:~$a", min_size=1))
def test_every_name_of_a_file_reaches_the_command_as_it_is(key: str, name: str) -> None:
    if len(name) > 1 and name[0] + name[-1] in ("[]", "''", '""'):
        assert _quoted(f"{key}={name}") == f"{key}={name}"
        return
    if "${" not in name:
        override = OverridesParser.create().parse_override(_quoted(f"{key}={name}"))
        assert (override.key_or_group, override.value()) == (key, name)


@pytest.mark.parametrize(
    "argument",
    [
        "images=",
        "images=[a.jpg,b.jpg]",
        "images=['a b.jpg',\"c,d.jpg\"]",
        "images='a b.jpg'",
        "overlay=null",
        "resume=null",
        "optim.lr=1e-3,2e-3",
        "encoder=timm",
        "--help",
        "images",
        f"images=[{','.join(['photo.jpg'] * 100)}]",
    ],
)
def test_other_arguments_are_left_to_hydra(argument: str) -> None:
    assert _quoted(argument) == argument


def test_a_photo_named_like_a_list_is_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _quoted("images=[a]") == "images=[a]"
    (tmp_path / "[a]").mkdir()
    assert _quoted("images=[a]") == "images='[a]'"


def test_build_makes_what_target_names() -> None:
    cfg = OmegaConf.create({"rate": 0.25, "loss": {"_target_": CROSS_ENTROPY, "label_smoothing": "${rate}"}})
    made = build(cfg.loss)
    assert isinstance(made, CrossEntropy)
    assert made.label_smoothing == 0.25


def test_build_makes_nested_targets_first_and_leaves_values() -> None:
    spec = {"a": {"_target_": CROSS_ENTROPY}, "b": [{"_target_": CROSS_ENTROPY}, 3], "c": {"d": "text"}}
    made = build(spec)
    assert isinstance(made["a"], CrossEntropy)
    assert isinstance(made["b"][0], CrossEntropy)
    assert (made["b"][1], made["c"]) == (3, {"d": "text"})


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            {"_target_": "os.system", "command": "true"},
            ModelFileError,
            r"os.system names code outside captioner",
        ),
        ({"_target_": "captionerx.Trap"}, ModelFileError, r"captionerx.Trap names code outside captioner"),
        ({"_target_": "captioner.build.importlib.import_module"}, UsageError, r"does not exist"),
        ({"_target_": "captioner.cli.run"}, ModelFileError, r"captioner.config.run is not a class"),
        ({"_target_": "captioner.cli.Path"}, ModelFileError, r"is not a class defined in captioner"),
        ({"_target_": "captioner.nowhere.Thing"}, UsageError, r"captioner.nowhere.Thing does not exist"),
        (
            {"_target_": CROSS_ENTROPY, "smoothing": 1},
            UsageError,
            r"does not take these settings: .*smoothing",
        ),
        ({"a": [{"_target_": "builtins.eval"}]}, ModelFileError, r"builtins.eval names code outside"),
    ],
)
def test_build_refuses(spec: dict[str, Any], error: type[CaptionerError], message: str) -> None:
    with pytest.raises(error, match=message):
        build(spec)


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (UsageError("the folder x is missing"), 2, "error: the folder x is missing\n"),
        (CaptionerError("the loss is nan"), 1, "error: the loss is nan\n"),
        (OSError(28, "No space left on device", "out/x"), 2, "error: out/x: No space left on device; check"),
        (KeyboardInterrupt(), 130, "\nstopped by the keyboard\n"),
    ],
)
def test_what_ends_a_command_is_said_in_one_line(
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


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["captioner.predict", "model=m", "images=i"])
    with pytest.raises(ZeroDivisionError):
        run(lambda cfg: 1 // 0, "predict")
