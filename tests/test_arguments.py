"""Tests of the checks of a command line and of its translation for Hydra."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from captioner.arguments import prepare
from captioner.cli import compose
from captioner.errors import UsageError

TEXTS = [
    ("train", "data.captions", ["data=flickr8k"]),
    ("train", "data.images", ["data=table"]),
    ("train", "data.caption_column", ["data=huggingface"]),
    ("train", "data.root", ["data=coco"]),
    ("train", "data.instances", ["data=coco"]),
    ("train", "data.test.instances", ["data=coco"]),
    ("train", "output_dir", []),
    ("train", "init_from", []),
    ("train", "encoder.weights", ["encoder=timm"]),
    ("train", "cache.folder", ["cache=features"]),
    ("predict", "model", []),
    ("predict", "images", []),
    ("predict", "ensemble", []),
    ("predict", "overlay", []),
    ("predict", "shard", []),
    ("predict", "constraints.prefix", []),
    ("evaluate", "annotations", []),
    ("evaluate", "decoding.frequency", ["decoding=mbr"]),
    ("score", "references", []),
    ("score", "save_frequency", []),
    ("doctor", "splits", []),
]


def prepared(main: str, *arguments: str, sweep: bool = False) -> str:
    return prepare(main, arguments, sweep=sweep)[-1]


# Hydra reads no control characters, and `[...]`, `'...'` and `"..."` are the user's own quoting.
names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda name: name.strip() == name and "${" not in name and name[0] + name[-1] not in ("[]", "''", '""')
)


@given(setting=st.sampled_from(TEXTS), name=names | st.text(" =,'\"\\{}()[]:~$a1", min_size=1))
def test_every_text_reaches_the_command_as_it_is(setting: tuple[str, str, list[str]], name: str) -> None:
    main, key, groups = setting
    argument = prepared(main, *groups, f"{key}={name}")
    if (len(name) > 1 and name[0] + name[-1] in ("[]", "''", '""')) or name == "null":
        assert argument == f"{key}={name}" or name == "null"
    elif "${" not in name:
        override = OverridesParser.create().parse_override(argument)
        assert (override.key_or_group, override.value()) == (key, name)


@pytest.mark.parametrize(("main", "key", "groups"), TEXTS)
@pytest.mark.parametrize("text", ["photos (1), new = old [x].jpg", "2024", "1e3", "true", "Caption (en)"])
def test_texts_are_texts_in_the_configuration(main: str, key: str, groups: list[str], text: str) -> None:
    cfg = compose(main, [*groups, f"{key}={text}"])
    for part in key.split("."):
        cfg = cfg[part]
    assert cfg == text


@pytest.mark.parametrize(
    ("main", "argument"),
    [
        ("predict", "images="),
        ("predict", "images=[a.jpg,b.jpg]"),
        ("predict", "images=['a b.jpg',\"c,d.jpg\"]"),
        ("predict", "images='a b.jpg'"),
        ("score", "candidates=[a,b]"),
        ("predict", "overlay=null"),
        ("train", "resume=null"),
        ("train", "encoder.weights=null"),
        ("train", "optim.lr=1e-3"),
        ("train", "threads=2"),
        ("train", "trainer.devices=2"),
        ("train", "trainer.precision=32"),
        ("train", "encoder=resnet50"),
        ("train", "+trainer.fast_dev_run=true"),
        ("train", "~objective.z_loss"),
        ("train", "--help"),
        ("train", "hydra.run.dir=x"),
        ("predict", f"images=[{','.join(['photo.jpg'] * 100)}]"),
    ],
)
def test_other_arguments_are_left_to_hydra(main: str, argument: str) -> None:
    assert prepared(main, argument) == argument


def test_preparing_twice_changes_nothing_more() -> None:
    """Lightning starts the other processes of trainer=ddp with the arguments that were prepared here."""
    arguments = ["data=table", "data.root=my photos (1)", 'data.captions=it\'s, "x" = y.csv', "optim.lr=1e-3"]
    once = prepare("train", arguments)
    assert prepare("train", once) == once


def test_a_photo_named_like_a_list_is_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepared("predict", "images=[a]") == "images=[a]"
    (tmp_path / "[a]").mkdir()
    assert prepared("predict", "images=[a]") == "images='[a]'"


def test_commas_make_a_list_where_the_default_is_one() -> None:
    assert compose("score", ["metrics=BLEU,ROUGE-L"]).metrics == ["BLEU", "ROUGE-L"]
    assert compose("train", ["encoder.image_size=32,48"]).encoder.image_size == [32, 48]


@pytest.mark.parametrize(
    "argument",
    [
        "optim.lr=1e-3,2e-3",
        "model.decoder.score=dot,cosine",
        "model.decoder.score=choice(dot, cosine)",
        "model.dropout=interval(0, 0.5)",
        "decoder=lstm,transformer",
        "experiment=glob(*)",
    ],
)
def test_sweeps_are_left_to_hydra(argument: str) -> None:
    assert prepared("train", argument, sweep=True) == argument


def test_a_sweep_over_a_group_knows_the_settings_of_each_option() -> None:
    prepare("train", ["decoder=lstm,transformer", "model.decoder.depth=2"], sweep=True)
    with pytest.raises(UsageError, match=r"model\.decoder\.depht.*model\.decoder\.depth\?"):
        prepare("train", ["decoder=lstm,transformer", "model.decoder.depht=2"], sweep=True)
    with pytest.raises(UsageError, match=r"lsmt.*lstm\?"):
        prepare("train", ["decoder=lsmt,transformer"], sweep=True)


@pytest.mark.parametrize(
    ("main", "argument", "nearest"),
    [
        ("train", "modle=x", "model"),
        ("train", "optim.lrr=1", "optim.lr"),
        ("train", "lr=1", "optim.lr"),
        ("train", "optim.lr", "optim.lr"),
        ("train", "encodr=resnet50", "encoder"),
        ("train", "encoder=mobilnetv2", "mobilenetv2"),
        ("train", "data=flicker8k", "flickr8k"),
        ("train", "decoder=transfomer", "transformer"),
        ("train", "objective=self_critcal", "self_critical"),
        ("train", "experiment=sparse_atention", "sparse_attention"),
        ("train", "recipe=flickr8k_lsmt", "flickr8k_lstm"),
        ("train", "trainer=dpd", "ddp"),
        ("train", "trainer.max_epoch=1", "trainer.max_epochs"),
        ("train", "model.decoder.num_head=2", "model.decoder.num_heads"),
        ("train", "data.bach_size=2", "data.batch_size"),
        ("evaluate", "data=sceens", "scenes"),
        ("evaluate", "grounding_=true", "grounding"),
        ("predict", "decodng=beam", "decoding"),
        ("predict", "decoding=bean", "beam"),
        ("predict", "image=x", "images"),
        ("score", "candidate=x", "candidates"),
        ("doctor", "tile=3", "tiles"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_known_one(main: str, argument: str, nearest: str) -> None:
    with pytest.raises(UsageError) as refused:
        prepare(main, [argument])
    assert argument.partition("=")[0] in str(refused.value)
    assert str(refused.value).endswith(f"; did you mean {nearest}?")


@pytest.mark.parametrize(
    ("argument", "new"),
    [
        ("strategy=ddp", "trainer=ddp"),
        ("strategy=fsdp", "trainer=fsdp"),
        ("strategy=lean", "trainer=ddp_lean"),
        ("sizes=transformer_scenes", "recipe"),
        ("encoder_sizes=default_coco", "recipe"),
        ("rates=mixed", "recipe"),
        ("tuning=mixed_scenes", "recipe"),
        ("encoder=default", "encoder"),
        ("model.decoder.read_first=true", "model.decoder.self_attention_first"),
        ("objective.looking=0.1", "objective.image_attention_penalty"),
        ("experiment=price_on_looking", "experiment=image_attention_penalty"),
        ("experiment=read_first", "experiment=self_attention_first"),
    ],
)
def test_a_renamed_setting_is_refused_with_its_new_name(argument: str, new: str) -> None:
    with pytest.raises(UsageError) as refused:
        prepare("train", [argument])
    assert argument.partition("=")[0] in str(refused.value)
    assert new in str(refused.value)
