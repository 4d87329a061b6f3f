"""Products of linear layers by either library, their gradients, and the copies of weights that a decode reuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.decoding import BeamSearch, SpecialTokens
from captioner.models import onednn
from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.linear import Linear, linear, replace_linear_layers
from captioner.models.weight_copies import cast, drop_stale_copies, reuse_copies

needs_onednn = pytest.mark.skipif(
    not onednn.takes(torch.float32), reason="this PyTorch has no products by oneDNN"
)
SPECIAL = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))


@pytest.fixture(autouse=True)
def prefer_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN on every processor."""
    monkeypatch.setattr(onednn, "FASTER", True)


@pytest.fixture
def bfloat16() -> Iterator[None]:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        yield


def parts(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, 24, generator=generator)
    return x, torch.randn(40, 24, generator=generator), torch.randn(40, generator=generator)


@needs_onednn
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3, 5), (1, 1, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_that_of_pytorch(shape: tuple[int, ...], biased: bool) -> None:
    x, weight, bias = parts(*shape)
    given = bias if biased else None
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, given), F.linear(x, weight, given), rtol=1e-5, atol=1e-5)


@needs_onednn
def test_inputs_that_are_not_contiguous_give_the_same() -> None:
    x, weight, bias = parts(6, 4)
    with torch.no_grad():
        for view in (x[::2], x.transpose(0, 1), x[:1].expand(5, -1, -1)):
            torch.testing.assert_close(
                linear(view, weight, bias), F.linear(view, weight, bias), rtol=1e-5, atol=1e-5
            )


@needs_onednn
@pytest.mark.parametrize("frozen", ["none", "x", "weight"])
def test_gradients_of_training_are_those_of_pytorch(frozen: str) -> None:
    x, weight, bias = parts(3, 5)
    given = {"x": x, "weight": weight, "bias": bias}
    learned = [value.requires_grad_() for name, value in given.items() if name != frozen]
    out = linear(x, weight, bias, training=True)
    assert type(out.grad_fn).__name__ == "_OneDnnBackward"
    found = torch.autograd.grad(out.square().sum(), learned)
    wanted = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), learned)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_other_formats_are_left_to_pytorch() -> None:
    x, weight, bias = (part.double() for part in parts(4))
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    x, weight, bias = parts(4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert linear(x[:0], weight, bias).shape == (0, 40)


@pytest.mark.parametrize("shape", [(0,), (1,), (48,), (2, 3, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_reordered_weight_gives_the_same_product(
    shape: tuple[int, ...], biased: bool, bfloat16: None
) -> None:
    x, weight, bias = parts(*shape)
    given = bias if biased else None
    for view in (x, x.transpose(0, -2)):
        with reuse_copies():
            found = linear(view, weight, given)
        assert found.dtype is torch.bfloat16
        assert torch.equal(linear(view, weight, given), found)
        # PyTorch may round before it adds the bias.
        torch.testing.assert_close(found, F.linear(view, weight, given), rtol=0.02, atol=0.05)


def test_explanations_may_take_many_gradients_at_once() -> None:
    x, weight, bias = parts(5)
    x.requires_grad_()
    each = torch.eye(5)[:, :, None].expand(5, 5, 40)
    (found,) = torch.autograd.grad(linear(x, weight, bias), x, each, is_grads_batched=True)
    torch.testing.assert_close(found[2, 2], weight.sum(dim=0))


def test_layers_within_a_model_keep_their_names_and_weights() -> None:
    shared = nn.Linear(6, 6, bias=False)
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(shared, nn.GELU(), shared, nn.Linear(6, 2))).eval()
    before, x = {name: id(value) for name, value in model.named_parameters()}, torch.randn(3, 4)
    wanted, state = model(x), torch.get_rng_state()
    replace_linear_layers(model)
    assert {name: id(value) for name, value in model.named_parameters()} == before
    assert [type(part) for part in model.modules() if isinstance(part, nn.Linear)] == [Linear] * 3
    assert not any(part.training for part in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        torch.testing.assert_close(model(x), wanted)


def test_a_copy_is_kept_while_its_weight_stays_as_it_is(bfloat16: None) -> None:
    layer, x = Linear(24, 40), torch.randn(3, 24)

    def plain() -> Tensor:
        return F.linear(*(part.detach().bfloat16() for part in (x, layer.weight, layer.bias)))

    with reuse_copies():
        assert torch.equal(layer(x), plain())
        assert cast(layer.weight, torch.bfloat16) is cast(layer.weight, torch.bfloat16)
        layer.weight.mul_(2)  # as an optimizer's step does
        assert torch.equal(layer(x), plain())
        layer.weight.data = torch.ones(40, 24)  # as a move to another device does
        assert torch.equal(layer(x), plain())
    with torch.enable_grad():
        assert layer(x).requires_grad


@pytest.mark.parametrize("rows", [slice(None), slice(3, 4)])
def test_weights_that_change_without_a_new_version_are_noticed(rows: slice, bfloat16: None) -> None:
    layer, x = Linear(24, 40), torch.randn(3, 24)

    def plain() -> Tensor:
        return F.linear(*(part.detach().bfloat16() for part in (x, layer.weight, layer.bias)))

    for _ in range(2):
        with reuse_copies():
            layer(x)
        layer.weight.data[rows].mul_(2)
        layer.bias.data[rows].neg_()
        assert torch.equal(layer(x), plain())
        drop_stale_copies(layer)
        with reuse_copies():
            assert torch.equal(layer(x), plain())


def captioner(kind: str) -> Captioner:
    torch.manual_seed(0)
    decoder = LstmDecoder(20, 16) if kind == "lstm" else TransformerDecoder(20, 16, depth=2, num_heads=2)
    return Captioner(ImageEncoder("test_vit", (32, 32)), decoder, image_depth=1).eval()


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_decode_begins_with_the_weights_as_they_are(kind: str, bfloat16: None) -> None:
    images, search = torch.randn(2, 3, 32, 32), BeamSearch(2, max_length=6)
    model, other = captioner(kind), captioner(kind)
    search(model.decoder, model.encode(images).features, SPECIAL)
    for one in (model, other):
        for parameter in one.parameters():
            parameter.data.mul_(1.5)
    found = search(model.decoder, model.encode(images).features, SPECIAL)
    expected = search(other.decoder, other.encode(images).features, SPECIAL)
    assert torch.equal(found.token_logprobs, expected.token_logprobs)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_model_without_the_private_operators_gives_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, model, search = torch.randn(2, 3, 32, 32), captioner(kind), BeamSearch(2, max_length=6)
    tokens = torch.randint(4, 20, (2, 3, 5))

    def results() -> list[Tensor]:
        model.zero_grad()
        model.train()
        torch.manual_seed(1)
        model(images, tokens).logits.square().mean().backward()
        gradients = [part.grad.clone() for part in model.parameters() if part.grad is not None]
        model.eval()
        with torch.no_grad():
            found = search(model.decoder, model.encode(images).features, SPECIAL)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            lower = search(model.decoder, model.encode(images).features, SPECIAL)
        # bfloat16 holds three digits.
        assert abs(float(lower.scores[0, 0] - found.scores[0, 0])) < 0.1
        return [found.tokens, found.token_logprobs, *gradients]

    expected = results()
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setitem(onednn.AVAILABLE, dtype, False)
    monkeypatch.setattr(onednn, "_multiply", None)
    monkeypatch.setattr(onednn, "_reorder", None)
    for one, other in zip(results(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_after_the_import_computes() -> None:
    """Nothing is computed at import: threads that it would start do not exist in a forked process."""
    code = """
import os, torch
import captioner.models.captioner, captioner.models.decoders.transformer
child = os.fork()
if child == 0:
    x = torch.randn(512, 512)
    torch.nn.functional.linear(x, x)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=100)
