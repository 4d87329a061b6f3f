"""Weight decay and learning rate of every parameter of a captioner."""

from __future__ import annotations

import itertools

import pytest

from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.training.parameter_groups import parameter_groups


def captioner(encoder: ImageEncoder) -> Captioner:
    decoder = TransformerDecoder(20, 16, depth=1, num_heads=2, sentinel=True)
    return Captioner(encoder, decoder, image_depth=1, image_heads=2)


def names(model: Captioner) -> dict[tuple[bool, bool], list[str]]:
    """Names of the parameters by group: in the encoder, with decay."""
    of = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {}
    for group in parameter_groups(model, lr=0.3, encoder_lr=0.1, weight_decay=0.05):
        assert set(group) == {"params", "lr", "weight_decay"}
        key = (group["lr"] == 0.1, group["weight_decay"] == 0.05)
        assert key not in groups
        assert key[0] or group["lr"] == 0.3
        assert key[1] or group["weight_decay"] == 0
        groups[key] = [of[id(parameter)] for parameter in group["params"]]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(itertools.chain(*groups.values())) == sorted(trained), "each is in one group"
    return groups


# The parameters with two axes or more that have no decay.
WITHOUT_DECAY: dict[str, set[str]] = {
    "vit_small_patch16_224": {"cls_token", "pos_embed"},
    "vit_small_patch14_reg4_dinov2": {"cls_token", "reg_token", "pos_embed"},
    "swin_tiny_patch4_window7_224": {
        f"layers.{layer}.blocks.{block}.attn.relative_position_bias_table"
        for layer, depth in enumerate((2, 2, 6, 2))
        for block in range(depth)
    },
    "mobilenetv2_100": set(),
    "resnet10t": set(),
    "visformer_tiny": {"pos_embed1", "pos_embed2", "pos_embed3"},  # timm lists none for it
}
SMALLEST = {"swin_tiny_patch4_window7_224": [224, 224], "vit_small_patch14_reg4_dinov2": [56, 56]}


@pytest.mark.parametrize("name", WITHOUT_DECAY)
def test_positions_and_extra_tokens_of_timm_models_have_no_decay(name: str) -> None:
    model = captioner(ImageEncoder(name, SMALLEST.get(name, [64, 64])))
    shape = {key: parameter.shape for key, parameter in model.named_parameters()}
    groups = names(model)
    excluded = {f"encoder.model.{key}" for key in WITHOUT_DECAY[name]}
    assert {key for key in groups[True, False] if len(shape[key]) >= 2} == excluded
    assert all(len(shape[key]) >= 2 for key in groups[True, True])


@pytest.mark.parametrize(("name", "part"), [("test_nfnet", "gain"), ("fastvit_t8", "gamma")])
def test_scales_with_axes_of_length_1_have_no_decay(name: str, part: str) -> None:
    model = captioner(ImageEncoder(name, [64, 64]))
    scales = {key for key, parameter in model.named_parameters() if key.endswith(f".{part}")}
    assert any(parameter.ndim > 1 for key, parameter in model.named_parameters() if key in scales)
    assert scales & set(names(model)[True, False])
    assert not scales & set(names(model)[True, True])


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_of_bridge_and_decoder_matrices_decay_except_positions(kind: str) -> None:
    model = captioner(ImageEncoder("test_vit", [32, 32]))
    if kind == "lstm":
        model = Captioner(model.encoder, LstmDecoder(20, 16), image_depth=1, image_heads=2)
    groups = names(model)
    expected = {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and not name.startswith("encoder.")
    }
    expected -= {"bridge.position", "bridge.prefix_position", "decoder.position_embedding.weight"}
    assert set(groups[False, True]) == expected
    assert {"bridge.position", "bridge.prefix_position"} <= set(groups[False, False])
    assert "decoder.token_embedding.weight" in expected


def test_frozen_parameters_are_in_no_group() -> None:
    frozen = names(captioner(ImageEncoder("mobilenetv2_100", [64, 64], trainable="none")))
    assert set(frozen) == {(False, False), (False, True)}
    partly = names(captioner(ImageEncoder("mobilenetv2_100", [64, 64], trainable="blocks.5")))
    layers = {name.split(".")[3] for name in partly[True, True] if name.startswith("encoder.model.blocks")}
    assert layers == {"5", "6"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mobilenetv2_100", {}), ("resnet10t", {"level": 1, "merge": 2}), ("swin_tiny_patch4_window7_224", {})],
)
def test_groups_of_default_encoders_depend_on_axes_and_the_word_position_only(
    name: str, settings: dict[str, int]
) -> None:
    """The rule, order included, that runs of these encoders have always had: their checkpoints stay valid."""
    model = captioner(ImageEncoder(name, SMALLEST.get(name, [64, 64]), **settings))  # type: ignore[arg-type]
    expected: dict[tuple[bool, bool], list[str]] = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and "position" not in key
            expected.setdefault((key.startswith("encoder."), decays), []).append(key)
    groups = names(model)
    assert groups == expected
    assert list(groups) == list(expected)
