"""Linear layer computed by the faster library, with bfloat16 copies of its weights that a decode reuses.

Float32 products go to oneDNN where that is faster than PyTorch's own (`onednn`), with gradients for training. Under
autocast without gradients, weights are cast once for a whole decode (`weight_copies`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from captioner.models import onednn
from captioner.models.weight_copies import cast


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
        training: Whether gradients, where they are recorded, are those of a training step, taken once for the whole
            batch. Explanations take many at once, which only PyTorch's own product supports.

    Returns:
        `[..., out]`.
    """
    if has_torch_function((x, weight)):  # a tracer, such as `find_cells`, sees one function
        traced: Tensor = handle_torch_function(linear, (x, weight), x, weight, bias)
        return traced
    gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    device = x.device.type
    # A model that is only traced computes on "meta", which has no autocast.
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast and not gradients and not torch.compiler.is_compiling():
        dtype = torch.get_autocast_dtype(device)
        by_onednn = device == "cpu" and onednn.takes(dtype)
        x, weight = x.to(dtype), cast(weight, dtype, reorder=by_onednn)
        bias = None if bias is None else cast(bias, dtype)
        return onednn.product(x, weight, bias) if by_onednn else F.linear(x, weight, bias)
    if (
        x.dtype is not torch.float32
        or weight.dtype is not torch.float32
        or device != "cpu"
        or not (onednn.FASTER and onednn.takes(torch.float32))
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_exporting()
        or (gradients and not training)
        or not x.numel()
    ):
        return F.linear(x, weight, bias)
    if gradients:
        learned: Tensor = _OneDnn.apply(x, weight, bias)
        return learned
    return onednn.product(x, weight, bias)


def replace_linear_layers(module: nn.Module) -> None:
    """Put a `Linear` with the same weights in the place of every `nn.Linear` within a new module, as of timm."""
    replaced: dict[nn.Linear, Linear] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if type(layer) is not nn.Linear or layer is module:
            continue
        if layer not in replaced:
            # On "meta" nothing is allocated and no random number drawn.
            new = Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            new.weight, new.bias = layer.weight, layer.bias
            replaced[layer] = new.train(layer.training)
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, replaced[layer])


class _OneDnn(torch.autograd.Function):
    """The product with its gradients, all by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn.product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # [M, out]
        return (
            onednn.product(grad, weight.t(), None) if for_x else None,
            onednn.product(rows.t(), x.flatten(0, -2).t(), None) if for_weight else None,
            rows.sum(dim=0) if for_bias else None,
        )
