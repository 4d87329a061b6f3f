"""Does every YAML in `conf/` say how it is used, and does that command really work?"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from captioner.build import ALLOWED_TARGETS, _find, build
from captioner.cli import conf_dir
from captioner.decoding import make_search
from captioner.image.augment import TrainingAugment
from captioner.text.tokenizer import Tokenizer
from captioner.training.module import CaptionModule
from captioner.training.trainer import make_trainer, resolve_settings

FILES = sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml"))
MAINS = [file.removesuffix(".yaml") for file in FILES if "/" not in file]
OPTIONS = [file.removesuffix(".yaml").split("/") for file in FILES if "/" in file]
SEARCHING = [(group, name) for group, name in OPTIONS if group in ("decoding", "constraints")]
TRAINING = [(group, name) for group, name in OPTIONS if (group, name) not in SEARCHING]
ENCODERS = [name for group, name in OPTIONS if group == "encoder" and not name.startswith("default_")]


def composed(main: str, overrides: list[str]) -> DictConfig:
    """The whole configuration of a command, Hydra's own part included."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        cfg = compose(main, overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)  # what `${hydra:...}` is looked up in
    return cfg


@pytest.fixture(autouse=True)
def _no_hydra_left() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


def opening_command(file: str) -> tuple[str, list[str]]:
    """Main and overrides of the command in a file's first comment."""
    lines = (conf_dir() / file).read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    found = re.fullmatch(r"# python -m captioner\.(\w+) ?(.*?)( && .*)?", first)
    assert found, f"{file} does not open with its command but with {first!r}"
    return found[1], shlex.split(found[2])


@pytest.mark.parametrize("file", FILES)
def test_opens_with_a_command_that_uses_it(file: str) -> None:
    main, overrides = opening_command(file)
    cfg = composed(main, overrides)
    group, _, name = file.removesuffix(".yaml").rpartition("/")
    if group:
        assert cfg.hydra.runtime.choices[group] == name
    else:
        assert main == name
    settings = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    assert not OmegaConf.missing_keys(settings), "the command leaves settings without a value"
    OmegaConf.resolve(settings)


@pytest.mark.parametrize(("group", "option"), SEARCHING)
def test_every_way_to_caption_makes_a_search(group: str, option: str) -> None:
    tokenizer = Tokenizer.train(["a dog with a ball"])
    made = []
    for main in ("predict", "evaluate"):
        cfg = composed(main, [f"{group}={option}"])
        search = make_search(cfg.beam_size, tokenizer=tokenizer, **cfg.decoding, **cfg.constraints)
        made.append(search.spec())
    assert made[0] == made[1]
    if group == "decoding":
        assert made[0]["search"].startswith(option)


@pytest.mark.parametrize(("group", "option"), TRAINING)
def test_every_option_composes_and_names_what_there_is(group: str, option: str) -> None:
    # What is tried out for an objective goes with it alone.
    beside = opening_command(f"{group}/{option}.yaml")[1] if group in ("rates", "tuning") else []
    cfg = composed("train", [*beside, f"{group}={option}"])
    settings = OmegaConf.to_container(cfg)
    assert isinstance(settings, dict)
    assert check_targets(settings) >= 5  # three splits, encoder, decoder
    check_arguments(settings["optim"], CaptionModule)
    check_arguments(settings["tokenizer"], Tokenizer.train)
    check_arguments(settings["image"]["augment"] or {}, TrainingAugment)
    if group == "data":
        assert cfg.name == option
        assert check_targets(OmegaConf.to_container(composed("evaluate", [f"{group}={option}"]))) >= 3


def check_targets(node: Any) -> int:
    """Every `_target_` exists, may be made, and knows the settings beside it. Returns how many there are."""
    if not isinstance(node, dict):
        return 0
    found = 0
    if "_target_" in node:
        check_arguments(node, _find(node["_target_"], ALLOWED_TARGETS))
        found = 1
    return found + sum(check_targets(value) for key, value in node.items() if key != "hydra")


def check_arguments(settings: dict[Any, Any], target: Any) -> None:
    parameters = inspect.signature(target).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert settings.keys() - {"_target_"} <= parameters.keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_built_and_gives_the_grid_it_says(name: str) -> None:
    file = f"encoder/{name}.yaml"
    node = OmegaConf.to_container(composed("train", opening_command(file)[1]).encoder, resolve=True)
    assert isinstance(node, dict)
    if node["weights"] == "timm":
        assert timm.is_model_pretrained(node["name"]), "timm has no weights for it"
    with torch.device("meta"):  # shapes without memory or time
        encoder = build({**node, "weights": None})
    assert encoder.frozen == (node["trainable"] == "none")
    said = re.search(r"(\d+) x (\d+) grid(?: of ([\d,]+) features)?", (conf_dir() / file).read_text())
    if said:
        assert encoder.grid == (int(said[1]), int(said[2]))
        assert said[3] is None or encoder.dim == int(said[3].replace(",", ""))


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "trainer"])
def test_lightning_takes_every_trainer(name: str, tmp_path: Path) -> None:
    cfg = composed("train", [f"trainer={name}", f"output_dir={tmp_path}", "logger=csv"])
    assert set(cfg.trainer) <= set(inspect.signature(lightning.Trainer).parameters)
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    trainer = make_trainer(resolve_settings(cfg.trainer), output_dir=tmp_path)
    assert trainer.max_epochs == cfg.trainer.max_epochs
    if isinstance(cfg.trainer.devices, int):
        assert trainer.num_devices == cfg.trainer.devices


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "experiment"])
def test_every_experiment_is_a_record(name: str) -> None:
    lines = (conf_dir() / f"experiment/{name}.yaml").read_text().splitlines()
    record = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    assert re.search(r"core of an \w+ EPYC", record), "the hardware"
    assert re.search(r"\d+ (s|steps)\b", record), "how long it took"
    assert re.search(r"CIDEr-D\D{0,60}\d", record), "what it reached"
