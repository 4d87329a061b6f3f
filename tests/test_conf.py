"""Tests that each YAML file of `conf/` opens with a command that works, and that its settings fit the classes."""

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

from captioner.build import Kind, build, find_class
from captioner.cli import register_resolvers
from captioner.composition import compose_defaults, conf_dir, groups_of, nodes, options
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
ENCODERS = [name for group, name in OPTIONS if group == "encoder"]
KINDS: dict[str, Kind] = {
    "train": "dataset",
    "val": "dataset",
    "test": "dataset",
    "self_critical": "objective",
}
KINDS |= {"teacher_forcing": "objective"}


def composed(main: str, overrides: list[str]) -> DictConfig:
    """The whole configuration of a command, Hydra's own part included."""
    register_resolvers()
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
    settings = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
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
    # A record goes with the objective and the data that it is for.
    beside = opening_command(f"{group}/{option}.yaml")[1] if group == "recipe" else []
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


def check_targets(node: Any, name: str = "") -> int:
    """Check that every `_target_` is a class of its slot that takes the settings beside it. Returns their number."""
    if not isinstance(node, dict):
        return 0
    found = 0
    if "_target_" in node:
        kind: Any = KINDS.get(name, name)
        check_arguments(node, find_class(node["_target_"], kind))
        found = 1
    return found + sum(check_targets(value, key) for key, value in node.items() if key != "hydra")


def check_arguments(settings: dict[Any, Any], target: Any) -> None:
    parameters = inspect.signature(target).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert settings.keys() - {"_target_"} <= parameters.keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_built_and_gives_the_grid_it_says(name: str) -> None:
    file = f"encoder/{name}.yaml"
    node = OmegaConf.to_container(composed("train", opening_command(file)[1]).encoder, resolve=True)
    assert isinstance(node, dict)
    settings = {str(key): value for key, value in node.items()}
    if node["weights"] == "timm":
        assert timm.is_model_pretrained(node["name"]), "timm has no weights for it"
    with torch.device("meta"):  # shapes without memory or time
        encoder = build({**settings, "weights": None}, kind="encoder")
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


@pytest.mark.parametrize("main", MAINS)
def test_a_setting_without_a_type_says_what_it_takes(main: str) -> None:
    """Null has no type: a setting that is null by default has a comment, which marks those that take a text."""
    choices = [{group: option} for group in groups_of(main) for option in options(group)]
    for choice in [{}, *choices]:
        composition = compose_defaults(main, choice)
        unmarked = {
            name
            for name, value in nodes(composition.settings)
            if value is None and not composition.is_text(name)
        }
        assert {name.rpartition(".")[2] for name in unmarked} <= NOT_TEXTS


NOT_TEXTS = {
    "augment", "captions_per_image", "ema", "encoder_lr", "fused", "image_chunk", "image_window", "level", "limit",
    "mean", "min_p", "num_kv_heads", "patience", "processes", "std", "threads", "top_k", "top_p", "vocab_size", "year",
}  # fmt: skip
