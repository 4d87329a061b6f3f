from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from captioner.errors import UsageError
from captioner.explain.attention import Attention
from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.methods import METHODS, make_method, make_methods
from captioner.explain.occlusion import Occlusion
from captioner.explain.teacher_forcing import TeacherForced
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from tests.explain.conftest import captioned


@pytest.mark.parametrize(
    ("name", "layer", "head", "maximum"),
    [
        ("attention", None, None, False),
        ("attention:mean", None, None, False),
        ("attention:max", None, None, True),
        ("attention:layer2", 2, None, False),
        ("attention:head5", None, 5, False),
        ("attention:layer2.head5", 2, 5, False),
        ("attention:head5.layer2", 2, 5, False),
        ("attention:layer12.max", 12, None, True),
        ("attention:best", 3, 1, False),
    ],
)
def test_which_attention_is_meant(name: str, layer: int | None, head: int | None, maximum: bool) -> None:
    method = make_method(name, card={"best_head": {"layer": 3, "head": 1}})
    assert isinstance(method, Attention)
    assert (method.layer, method.head, method.maximum) == (layer, head, maximum)
    assert method.name == name


def test_other_choices() -> None:
    occlusion, steps = make_method("occlusion:5x9"), make_method("integrated_gradients:32")
    assert isinstance(occlusion, Occlusion)
    assert isinstance(steps, IntegratedGradients)
    assert (occlusion.grid, occlusion.name) == ((5, 9), "occlusion:5x9")
    assert (steps.steps, steps.name) == (32, "integrated_gradients:32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "gradcam",
            "explain=gradcam is no method; choose from attention, rollout, gradient_attention, grad_cam",
        ),
        ("attention:", "explain=attention: is not understood; after attention: may stand layerN"),
        ("attention:layer", "explain=attention:layer is not understood"),
        ("attention:layer1.layer2", "is not understood"),
        ("attention:best.max", "is not understood"),
        ("attention:layer99999", "is not understood"),
        (
            "attention:best",
            "this model's card does not say; captioner.evaluate with grounding=true finds it, and keep_best_head=true",
        ),
        ("occlusion:7", "after occlusion: may stand rows and columns, as in occlusion:7x7"),
        ("occlusion:0x7", "rows and columns of patches must be at least 1"),
        ("rollout:max", "rollout has no choices: say explain=rollout"),
        ("integrated_gradients:many", "may stand a number of steps"),
    ],
)
def test_what_is_not_understood_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_method(name)


@pytest.mark.parametrize("best", ["layer2", {"layer": 2}, {"layer": "2", "head": 1}, [2]])
def test_a_card_must_name_a_head(best: Any) -> None:
    with pytest.raises(UsageError, match=r"best_head=.* in the model's card must be a layer and a head"):
        make_method("attention:best", card={"best_head": best})


def test_several_methods_in_the_order_named(cnn: Captioner) -> None:
    gradcam = GradCam()
    for explain in (
        "occlusion, attention:max,grad_cam,occlusion",
        ["occlusion", "attention:max", gradcam, "grad_cam"],
        ["occlusion,attention:max", gradcam],
    ):
        assert [m.name for m in make_methods(explain, cnn)] == ["occlusion", "attention:max", "grad_cam"]
    assert make_methods(gradcam, cnn) == (gradcam,)


def test_all_is_one_of_each_that_the_model_supports(vit: Captioner, cnn: Captioner) -> None:
    assert [m.name for m in make_methods("all", vit)] == list(METHODS)
    assert [m.name for m in make_methods("all", cnn)] == [name for name in METHODS if name != "rollout"]
    assert make_methods("occlusion:2x2,all", cnn)[0].name == "occlusion:2x2"


def test_an_lstm_is_explained_too(lstm: Captioner) -> None:
    batch = captioned(lstm)
    methods = make_methods("all", lstm)
    assert [m.name for m in methods] == [name for name in METHODS if name != "gradient_attention"]
    for method in methods:
        maps = method(batch)
        assert maps.shape == (3, 5, 2, 3)
        assert float(maps.abs().max()) > 0


def test_image_layers_with_windows_have_no_weights_to_read() -> None:
    torch.manual_seed(0)
    decoder = TransformerDecoder(12, 16, depth=1, num_heads=2, max_length=8)
    encoder = ImageEncoder("test_vit", (32, 48))
    windowed = Captioner(encoder, decoder, image_depth=1, image_heads=2, image_window=2).eval()
    assert [m.name for m in make_methods("all", windowed)] == [
        name for name in METHODS if name not in ("rollout", "gradient_attention")
    ]
    for name in ("rollout", "gradient_attention"):
        with pytest.raises(UsageError, match="image tokens attend within windows of 2 cells"):
            make_methods(name, windowed)


def test_what_the_model_does_not_support_is_refused_before_anything_runs(cnn: Captioner) -> None:
    with pytest.raises(UsageError, match="explain=rollout needs"):
        make_methods("attention,rollout", cnn)
    with pytest.raises(UsageError, match="the decoder has no layer 7"):
        make_methods("attention:layer7", cnn)
    with pytest.raises(UsageError, match="explain names no method"):
        make_methods([], cnn)


@pytest.mark.parametrize(
    ("asked", "left", "said"),
    [
        ("attention,rollout", ["attention"], ["explain=rollout needs an encoder"]),
        ("rollout,grad_cam,occlusion", ["grad_cam", "occlusion"], ["explain=rollout needs an encoder"]),
        ("attention:layer7,attention:head9,attention", ["attention"], ["no layer 7", "no head 9"]),
        ("attention:best,attention", ["attention"], ["explain=attention:best needs to know"]),
        ("attention", ["attention"], []),
    ],
)
def test_where_a_method_remains_the_others_are_warned_of(
    cnn: Captioner, asked: str, left: list[str], said: list[str]
) -> None:
    told: list[str] = []
    assert [method.name for method in make_methods(asked, cnn, warn=told.append)] == left
    assert len(told) == len(said)
    for message, part in zip(told, said, strict=True):
        assert part in message
        assert message.endswith(f"; without it, explaining goes on by {', '.join(left)}")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("rollout", "explain=rollout needs"),
        ("rollout,attention:layer7", "explain=rollout needs"),
        ("attention,magic", "explain=magic is no method"),
        ("attention,attention:layer", "is not understood"),
    ],
)
def test_where_none_remains_or_a_name_is_wrong_it_is_refused(
    cnn: Captioner, asked: str, message: str
) -> None:
    told: list[str] = []
    with pytest.raises(UsageError, match=message):
        make_methods(asked, cnn, warn=told.append)
    assert told == []


@pytest.mark.parametrize("name", METHODS)
def test_what_holds_for_every_method(vit: Captioner, name: str) -> None:
    """Shapes, units, and that an image's maps depend neither on its batch, nor on padding, nor on how one calls."""
    method = make_method(name)
    batch = captioned(vit)
    maps = method(batch)
    rows, cols = batch.memory.grid
    assert maps.shape == (3, 5, rows, cols)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert torch.isfinite(maps).all()
    assert method.cost
    if method.unit != "nats":
        assert float(maps.min()) >= 0
    if method.unit == "attention":
        assert float(maps.sum(dim=(-1, -2)).max()) <= 1 + 1e-5
    for b in range(3):
        length = int((batch.tokens[b] != 0).sum())
        alone = replace(
            batch,
            images=batch.images[b : b + 1],
            memory=replace(batch.memory, features=batch.memory.features[b : b + 1]),
            tokens=batch.tokens[b : b + 1, :length],
            forced=TeacherForced(
                batch.forced.token_logprobs[b : b + 1, :, :length],
                batch.forced.attention[b : b + 1, :, :length],
                batch.forced.logits[b : b + 1, :, :length],
            ),
        )
        torch.testing.assert_close(method(alone)[0], maps[b, :length], atol=1e-5, rtol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(method(captioned(vit)), maps, atol=1e-5, rtol=1e-3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(method(batch), maps, atol=1e-5, rtol=1e-3)
    assert all(parameter.grad is None for parameter in vit.parameters())
    assert batch.images.grad is None
    assert not batch.images.requires_grad
    assert not batch.memory.features.requires_grad
