"""Matrix products by oneDNN through PyTorch's private operators, with PyTorch's own product where they are missing.

    y = x Wᵀ + b

PyTorch's float32 products go to MKL, which takes slower kernels on processors that are not Intel's; oneDNN, which is
in every build of PyTorch, takes those the processor has. On an AMD EPYC 9005 a layer of 512 → 2048 gave 175 GFLOP/s
by MKL and 340–450 by oneDNN, and with one row, where weights are only read, 8 against 19. Results differ in the last
digits. bfloat16 products go to oneDNN in any case, which reorders the weights: done once, not at every call, a product
of 3 to 48 rows takes 15 to 40 % less there, and gives the same digits.

This is the only file that names `torch.ops.mkldnn`. The operators have no promise of compatibility, so each is tried
once, at its first use, on a product of a few numbers. Not at import: a product starts threads, and a process that is
forked later would wait for them forever.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 48
"""Rows that weights are reordered for: the beams of a batch. Other numbers of rows gain too."""


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _reorder(weight: Tensor) -> Tensor:
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
    return reordered


def _is_float32_available() -> bool:
    """Whether the product exists and is right, tried on small numbers that bfloat16 holds exactly."""
    x, weight = torch.ones(2, 3, device="cpu"), torch.eye(4, 3, device="cpu")
    try:
        with torch.no_grad():
            return torch.equal(_multiply(x, weight, None), F.linear(x, weight))
    except (AttributeError, RuntimeError, TypeError):
        return False


def _is_bfloat16_available() -> bool:
    """Whether the product with a reordered weight exists and is right, and the processor computes it."""
    x, weight = (part.bfloat16() for part in (torch.ones(2, 3, device="cpu"), torch.eye(4, 3, device="cpu")))
    try:
        with torch.no_grad():
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.equal(
                _multiply(x, _reorder(weight), None), F.linear(x, weight)
            )
    except (AttributeError, RuntimeError, TypeError):
        return False


def _is_faster() -> bool:
    """Whether MKL computes float32 products here, on a processor it takes slow kernels for."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkl.is_available():
        return False
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        processor = platform.processor()
    return "GenuineIntel" not in processor


FASTER = _is_faster()
"""Whether `product` is faster than PyTorch's product in float32."""
AVAILABLE: dict[torch.dtype, bool] = {}
"""By number format: whether `product` computes in it here, and for bfloat16 takes `reordered` weights."""


def takes(dtype: torch.dtype) -> bool:
    """Whether `product` computes in this number format here; otherwise use `F.linear`."""
    if dtype not in AVAILABLE:
        if dtype is torch.float32:
            AVAILABLE[dtype] = _is_float32_available()
        else:
            AVAILABLE[dtype] = dtype is torch.bfloat16 and _is_bfloat16_available()
    return AVAILABLE[dtype]


def reordered(weight: Tensor) -> Tensor:
    """A bfloat16 weight `[out, in]` in the order in which oneDNN reads it, for `product` alone."""
    return _reorder(weight)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x Wᵀ + b` `[..., out]` of `x` `[..., in]` on the CPU, without gradients, in a format that it `takes`."""
    if torch.compiler.is_compiling():
        out: Tensor = _opaque(x, weight, bias)
        return out
    return _multiply(x, weight, bias)


@torch.library.custom_op("captioner::linear", mutates_args=())
def _opaque(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product as one operation that a compiler does not look into: it would take the weights for constants."""
    return _multiply(x, weight, bias)


@_opaque.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])
