"""Is a product the same, whichever library multiplies, and are its gradients?"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from captioner.models import linear as linears
from captioner.models.linear import Linear, compute_by_linear, linear

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN"
)


@pytest.fixture(autouse=True)
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN whatever the processor."""
    monkeypatch.setattr(linears, "MKL_IS_SLOW", True)


def parts(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
def test_rows_that_lie_apart_in_memory_are_the_same() -> None:
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
def test_weights_in_onednns_order_give_the_same_product(shape: tuple[int, ...], biased: bool) -> None:
    x, weight, bias = parts(*shape)
    given = bias if biased else None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kept = linears._kept(weight, torch.bfloat16)
        assert kept.is_mkldnn == linears._is_laid_out(weight.bfloat16())
        for view in (x, x.transpose(0, -2)):
            found = linear(view, weight, given)
            assert found.dtype is torch.bfloat16
            # PyTorch may round before it adds the bias.
            torch.testing.assert_close(found, F.linear(view, weight, given), rtol=0.02, atol=0.05)


def test_explanations_may_ask_for_many_gradients_at_once() -> None:
    x, weight, bias = parts(5)
    x.requires_grad_()
    each = torch.eye(5)[:, :, None].expand(5, 5, 40)
    (found,) = torch.autograd.grad(linear(x, weight, bias), x, each, is_grads_batched=True)
    torch.testing.assert_close(found[2, 2], weight.sum(dim=0))


def test_layers_within_a_model_keep_their_names_and_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.GELU(), nn.Linear(6, 2))).eval()
    before, x = {name: id(value) for name, value in model.named_parameters()}, torch.randn(3, 4)
    wanted = model(x)
    compute_by_linear(model)
    assert {name: id(value) for name, value in model.named_parameters()} == before
    assert [type(part) for part in model.modules() if isinstance(part, nn.Linear)] == [Linear, Linear]
    with torch.no_grad():
        torch.testing.assert_close(model(x), wanted)


def test_a_shorter_copy_is_kept_while_the_weight_stays_as_it_is() -> None:
    layer, x = Linear(24, 40), torch.randn(3, 24)

    def plain() -> torch.Tensor:
        parts = (part.detach().bfloat16() for part in (x, layer.weight, layer.bias))
        return F.linear(*parts)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), plain())
        assert linears._kept(layer.weight, torch.bfloat16) is linears._kept(layer.weight, torch.bfloat16)
        before = layer(x)
        layer.weight.mul_(2)  # as an optimizer's step does
        assert torch.equal(layer(x), plain())
        assert not torch.equal(layer(x), before)
        layer.weight.data = torch.ones(40, 24)  # as another device does
        assert torch.equal(layer(x), plain())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).requires_grad
