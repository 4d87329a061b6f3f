"""Tests that the composition without Hydra equals Hydra's, and of the recipes that it chooses."""

from __future__ import annotations

import itertools

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from captioner.cli import register_resolvers
from captioner.composition import compose_defaults, conf_dir, groups_of, load_yaml, nodes, options

MAINS = sorted(path.stem for path in conf_dir().glob("*.yaml"))
CHOICES = [
    (main, {group: option})
    for main in MAINS
    for group in groups_of(main)
    for option in options(group)
] + [
    ("train", {"data": data, "decoder": decoder, "objective": objective})
    for data, decoder, objective in itertools.product(
        ("scenes", "flickr8k", "coco", "jsonl"), ("transformer", "lstm"), options("objective")
    )
] + [
    ("train", {"data": data, "encoder": encoder})
    for data, encoder in itertools.product(("scenes", "flickr8k", "coco"), ("mobilenetv2", "vit_small"))
] + [(main, {}) for main in MAINS]  # fmt: skip


@pytest.mark.parametrize(("main", "choices"), CHOICES)
def test_the_defaults_are_those_of_hydra(main: str, choices: dict[str, str]) -> None:
    register_resolvers()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        cfg = compose(
            main, [f"{group}={option}" for group, option in choices.items()], return_hydra_config=True
        )
    container = OmegaConf.to_container(cfg)
    assert isinstance(container, dict)
    expected = {str(key): value for key, value in container.items()}
    theirs = expected.pop("hydra")["runtime"]["choices"]
    composition = compose_defaults(main, choices)
    assert composition.settings == expected
    assert {str(key): type(value) for key, value in nodes(composition.settings)} == {
        str(key): type(value) for key, value in nodes(expected)
    }
    assert composition.choices == {group: theirs[group] for group in groups_of(main)}


@pytest.mark.parametrize(
    ("choices", "recipe"),
    [
        ({}, "scenes"),
        ({"decoder": "lstm"}, "scenes_lstm"),
        ({"encoder": "resnet50"}, "scenes"),
        ({"objective": "self_critical"}, "scenes_self_critical"),
        ({"experiment": "self_critical"}, "scenes_self_critical"),
        ({"experiment": "knowing_when_to_look"}, "scenes_lstm"),
        ({"data": "flickr8k"}, "flickr8k"),
        ({"data": "flickr8k", "encoder": "mobilenetv2"}, "flickr8k"),
        ({"data": "flickr8k", "encoder": "vit_small"}, "flickr8k_other_encoder"),
        ({"data": "flickr8k", "decoder": "lstm"}, "flickr8k_lstm"),
        ({"data": "flickr8k", "objective": "self_critical"}, "flickr8k_self_critical"),
        ({"data": "coco"}, "coco"),
        ({"data": "coco", "decoder": "lstm"}, "coco_lstm"),
        ({"data": "table"}, "none"),
        ({"data": "table", "decoder": "lstm"}, "none"),
        ({"data": "table", "objective": "mixed"}, "self_critical"),
        ({"data": "flickr8k", "recipe": "none"}, "none"),
        ({"data": "table", "recipe": "flickr8k"}, "flickr8k"),
    ],
)
def test_the_recipe_follows_from_the_other_choices(choices: dict[str, str], recipe: str) -> None:
    composition = compose_defaults("train", choices)
    assert composition.choices["recipe"] == recipe
    assert next(iter(composition.settings.items())) == ("recipe", recipe)


def test_naming_the_usual_encoder_changes_nothing() -> None:
    for data, encoder in (("flickr8k", "mobilenetv2"), ("scenes", "tiny"), ("coco", "resnet50")):
        named = compose_defaults("train", {"data": data, "encoder": encoder})
        assert named == compose_defaults("train", {"data": data})


def test_flickr8k_with_another_encoder_differs_in_the_encoder_alone() -> None:
    usual, other = (load_yaml(f"recipe/{name}").content for name in ("flickr8k", "flickr8k_other_encoder"))
    both = usual.keys() - {"encoder", "recipe", "model"}
    assert {key: usual[key] for key in both} == {key: other[key] for key in both}
    assert other.keys() - {"recipe", "model"} == both


def test_texts_that_may_be_null_are_marked() -> None:
    assert {"resume", "init_from"} <= compose_defaults("train").optional_text
    assert "data.instances" in compose_defaults("train", {"data": "coco"}).optional_text
    assert "threads" not in compose_defaults("train").optional_text
