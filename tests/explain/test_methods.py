from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from captioner.errors import UsageError
from captioner.explain.attention import Attention
from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.methods import METHODS, Method, make_method, make_methods
from captioner.explain.occlusion import Occlusion
from captioner.explain.teacher_forcing import CaptionedBatch, TeacherForced, full_precision
from captioner.explain.unsupported import UnsupportedMethodError
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
        ("psychic", "explain=psychic .*attention, rollout, gradient_attention, grad_cam"),
        ("gradcam", r"explain=gradcam .*did you mean grad_cam\?"),
        ("oclusion:7x7", r"explain=oclusion:7x7 .*did you mean occlusion\?"),
        ("al", r"did you mean all\?"),
        ("attention:", "explain=attention:: .*layerN"),
        ("attention:layer", "explain=attention:layer: .*layerN"),
        ("attention:layer1.layer2", "attention:layer1.layer2: "),
        ("attention:best.max", "attention:best.max: "),
        ("attention:layer99999", "attention:layer99999: "),
        ("attention:best", "best_head.* grounding=true keep_best_head=true"),
        ("occlusion:7", "explain=occlusion:7: .*occlusion:7x7"),
        ("occlusion:0x7", "explain=occlusion:0x7: .* at least 1"),
        ("rollout:max", "explain=rollout:max: .*explain=rollout$"),
        ("integrated_gradients:many", "explain=integrated_gradients:many: .*integrated_gradients:32"),
        ("integrated_gradients:0", "explain=integrated_gradients:0: .* at least 1"),
    ],
)
def test_unknown_names_and_choices_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_method(name)


@pytest.mark.parametrize("best", ["layer2", {"layer": 2}, {"layer": "2", "head": 1}, [2]])
def test_a_card_must_name_a_head(best: Any) -> None:
    with pytest.raises(UsageError, match=r"best_head=.* card .*layer and a head"):
        make_method("attention:best", card={"best_head": best})


def test_several_methods_in_the_order_named(cnn: Captioner) -> None:
    gradcam = GradCam()
    choices: tuple[str | list[str | Method], ...] = (
        "occlusion, attention:max,grad_cam,occlusion",
        ["occlusion", "attention:max", gradcam, "grad_cam"],
        ["occlusion,attention:max", gradcam],
    )
    for explain in choices:
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
        with pytest.raises(UsageError, match=rf"explain={name}: .*windows of 2 cells"):
            make_methods(name, windowed)


def test_what_the_model_does_not_support_is_refused_before_anything_runs(cnn: Captioner) -> None:
    with pytest.raises(UnsupportedMethodError, match="explain=rollout"):
        make_methods("attention,rollout", cnn)
    with pytest.raises(UsageError, match=r"explain=attention:layer7: .*2 layers of 2 heads"):
        make_methods("attention:layer7", cnn)
    with pytest.raises(UsageError, match="no method"):
        make_methods([], cnn)


@pytest.mark.parametrize(
    ("asked", "left", "said"),
    [
        ("attention,rollout", ["attention"], ["explain=rollout "]),
        ("rollout,grad_cam,occlusion", ["grad_cam", "occlusion"], ["explain=rollout "]),
        ("attention:best,rollout,attention", ["attention"], ["explain=attention:best", "explain=rollout "]),
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
        assert message.endswith(f"using {', '.join(left)}")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("rollout", "explain=rollout "),
        ("rollout,attention:layer7", "explain=attention:layer7: "),
        ("attention:layer99,occlusion", "explain=attention:layer99: "),
        ("attention,attention:head9", "explain=attention:head9: "),
        ("occlusion:40x40,attention", "explain=occlusion:40x40: "),
        ("attention,magic", "explain=magic "),
        ("attention,attention:layer", "explain=attention:layer: "),
    ],
)
def test_a_wrong_name_or_choice_is_an_error_even_if_another_method_remains(
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


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """Batch sizes of the module's forward passes within the context."""
    sizes: list[int] = []
    hook = module.register_forward_hook(lambda _, args, output: sizes.append(len(args[0])))
    yield sizes
    hook.remove()


def with_encoder_output(batch: CaptionedBatch) -> CaptionedBatch:
    """The batch with the encoder's output, as after a search in full precision."""
    with full_precision(batch.images.device):
        return replace(batch, encoded=batch.captioner.encoder(batch.images))


def test_checks_need_at_most_one_encoder_pass(vit: Captioner, cnn: Captioner) -> None:
    for captioner in (vit, cnn):
        with counted(captioner.encoder) as passes:
            make_methods("attention:layer1,attention:head2,gradient_attention,grad_cam", captioner)
            assert passes == []
            make_methods("all", captioner)
        assert passes == [1]  # whether rollout is possible


@pytest.mark.parametrize("keeps_output", [False, True])
def test_methods_share_the_encoder_s_output(vit: Captioner, keeps_output: bool) -> None:
    methods = make_methods("all", vit)
    batch = captioned(vit)
    if keeps_output:
        batch = with_encoder_output(batch)
    with counted(vit.encoder) as passes:
        for method in methods:
            method(batch)
    assert sorted(passes) == sorted(
        ([] if keeps_output else [3])  # grad_cam, integrated_gradients and occlusion share it
        + [3]  # rollout, without fused attention
        + [1, 1, 1]  # gradient_attention: the autograd graph of one image at a time
        + [1]  # integrated_gradients: a blank image
        + [6, 6, 6]  # occlusion: six covered patches of each image
    )


@pytest.mark.parametrize("keeps_output", [False, True])
def test_maps_are_the_same_alone_and_together(captioner: Captioner, keeps_output: bool) -> None:
    """Bit for bit, in whichever order methods share the encoder's output."""
    methods = make_methods("all", captioner)
    batch = with_encoder_output(captioned(captioner)) if keeps_output else captioned(captioner)
    alone = {method.name: method(replace(batch)) for method in methods}  # a copy has cached nothing yet
    for order in (methods, methods[::-1]):
        together = replace(batch)
        for method in order:
            assert torch.equal(method(together), alone[method.name])
