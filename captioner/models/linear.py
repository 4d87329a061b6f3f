"""Which library multiplies a layer's matrices? MKL, or oneDNN on processors that MKL does not favour.

    y = x Wᵀ + b

PyTorch's float32 products go to MKL, which takes slower kernels on processors that are not Intel's; oneDNN, which is
in every build of PyTorch, takes those the processor has. On an AMD EPYC 9005 a layer of 512 → 2048 gave 175 GFLOP/s
by MKL and 340–450 by oneDNN, and with one row, where weights are only read, 8 against 19. Results differ in the last
digits. bfloat16 goes to oneDNN anyway, which reads weights in an order of its own: laid out so once, not at every call,
a product of 3 to 48 rows takes 15 to 40 % less there, and gives the same digits.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils.weak import WeakTensorKeyDictionary


def _mkl_is_slow() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):  # type: ignore[no-untyped-call]
        return False
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        processor = platform.processor()
    return "GenuineIntel" not in processor


MKL_IS_SLOW = _mkl_is_slow()
"""Whether MKL multiplies here, and takes slow kernels for want of a processor of its own maker."""


ROWS = 48
"""For about so many rows are weights laid out: the beams of a batch. Others gain too."""


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """The product `[..., out]` of `x` `[..., in]`."""
        return linear(x, self.weight, self.bias, training=self.training)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, training: bool = False) -> Tensor:
    """`x Wᵀ + b`.

    Args:
        x: `[..., in]`.
        weight: `[out, in]`.
        bias: `[out]`.
        training: Whether gradients, where they are wanted, are those of a training step, one for the whole batch:
            explanations ask for many at once, which PyTorch's own product can give.

    Returns:
        `[..., out]`.
    """
    if has_torch_function((x, weight)):  # whoever looks through a network sees one function
        product: Tensor = handle_torch_function(linear, (x, weight), x, weight, bias)
        return product
    gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    device = x.device.type
    # A network that is only looked through computes on "meta", which knows no autocast.
    lowered = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if not gradients and lowered and not torch.compiler.is_compiling():
        low = torch.get_autocast_dtype(device)
        x, kept, bias = x.to(low), _kept(weight, low), None if bias is None else _kept(bias, low)
        if not kept.is_mkldnn:
            return F.linear(x, kept, bias)
        by_rows: Tensor = torch.ops.mkldnn._linear_pointwise(x, kept, bias, "none", [], "")
        return by_rows
    if (
        x.dtype is not torch.float32
        or weight.dtype is not torch.float32
        or device != "cpu"
        or not MKL_IS_SLOW
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_exporting()
        or (gradients and not training)
        or not x.numel()
    ):
        return F.linear(x, weight, bias)
    if gradients:
        learned: Tensor = _OneDnn.apply(x, weight, bias)
        return learned
    return _product(x, weight, bias)


def compute_by_linear(module: nn.Module) -> None:
    """Let every `nn.Linear` within the module, such as those of a timm model, compute by `linear`."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear  # what others hold of it, and its hooks and names, stay


_COPIES = WeakTensorKeyDictionary()


def _kept(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A shorter copy of a weight or bias, made once and kept while it stays as it is; in oneDNN's order, if that helps.

    Without gradients autocast makes a new one at every call: half of the time of a step of decoding.
    """
    if weight.dtype == dtype or weight.is_inference():
        return weight.to(dtype)
    state = (weight._version, weight.data_ptr(), dtype)
    copied: tuple[tuple[Any, ...], Tensor] | None = _COPIES.get(weight)  # type: ignore[no-untyped-call]
    if copied is None or copied[0] != state:
        with torch.inference_mode(False):
            short = weight.detach().to(dtype)
            if short.ndim == 2 and _is_laid_out(short):
                short = torch.ops.mkldnn._reorder_linear_weight(short, ROWS)
            copied = (state, short)
        _COPIES[weight] = copied
    return copied[1]


def _is_laid_out(weight: Tensor) -> bool:
    """Whether oneDNN computes with this weight, in an order of its own."""
    return (
        weight.device.type == "cpu"
        and weight.dtype is torch.bfloat16
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def forget_copies(module: nn.Module) -> None:
    """Make new shorter copies of the module's weights when next asked: for who changes them unseen."""
    for weight in module.parameters():
        _COPIES.pop(weight, None)  # type: ignore[no-untyped-call]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if torch.compiler.is_compiling():
        whole: Tensor = _whole(x, weight, bias)
        return whole
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@torch.library.custom_op("captioner::linear", mutates_args=())
def _whole(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product as one operation that a compiler leaves alone; it would want weights that never change."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@_whole.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


class _OneDnn(torch.autograd.Function):
    """The product with its gradients, all by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # [M, out]
        return (
            _product(grad, weight.t(), None) if for_x else None,
            _product(rows.t(), x.flatten(0, -2).t(), None) if for_weight else None,
            rows.sum(dim=0) if for_bias else None,
        )
