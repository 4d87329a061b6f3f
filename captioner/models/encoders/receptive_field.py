"""Centres of the receptive fields of an encoder's grid cells on the input.

A strided convolution with equal padding on both sides centres cell i on pixel i * stride: above and left of the even
share of the input that the cell would be drawn on, by 15.5 of 32 pixels after five such layers. TensorFlow's "same"
padding shifts it the other way, and depends on the size of the image. The centres of any network are measured by
running it with simplified operations: every kernel and pooling window is replaced by its centre, all weights by a mean,
every token attends to itself, and norms only keep the scale. A cell then depends on the pixels at the centre of its
receptive field and on no others, and its gradient shows which.

Source: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks" (the centres are an affine
function of the cells), computed here without a description of the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from captioner.image.geometry import Box
from captioner.models.image_tokens import ImageTokens

_LEAST = 1e-4  # of the largest gradient: smaller ones come through statistics of the whole image


def find_cells(
    encode: Callable[[Tensor], ImageTokens], image_size: tuple[int, int], *, device: torch.device
) -> Box | None:
    """The rectangle of the input that the grid divides evenly into cells centred on their receptive fields.

    Args:
        encode: Returns the tokens of images float `[1, 3, rows, cols]`, in evaluation mode. The weights do not matter.
        image_size: `(rows, cols)` of the images.
        device: Where the weights are.

    Returns:
        (top, left, bottom, right) in pixels of the input; it may extend beyond it. None where cells have no centre, as
        after layers that mix all positions, or the network cannot be run this way: dividing the input itself evenly is
        then the best estimate.
    """
    if device.type == "meta":
        return None  # shapes alone, no numbers
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        _CentresOnly(),
    ):
        image = torch.ones(1, 3, *image_size, device=device, requires_grad=True)
        try:
            tokens = encode(image)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        rows, cols = tokens.grid
        # [1, N, D] -> [rows, cols]
        cells = tokens.features[0, tokens.num_prefix :].sum(dim=-1).reshape(rows, cols)
        ends = [_inner_ends(rows), _inner_ends(cols)]
        first, last = (_centre(cells[ends[0][i], ends[1][i]], image) for i in (0, 1))
    if first is None or last is None:
        return None
    spans = []
    for axis, (count, length) in enumerate(zip(tokens.grid, image_size, strict=True)):
        start, end = ends[axis]
        step = (last[axis] - first[axis]) / (end - start) if end > start else float(length)
        if not length / 2 <= step * count <= length * 2:
            return None
        spans.append((first[axis] - (start + 0.5) * step, first[axis] + (count - start - 0.5) * step))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def _inner_ends(count: int) -> tuple[int, int]:
    """Two cells far apart and not at the border, where a centre may lie on padding."""
    margin = 1 if count >= 4 else 0
    return margin, count - 1 - margin


def _centre(cell: Tensor, image: Tensor) -> tuple[float, float] | None:
    """The (row, col) of the centre of the pixels that a cell depends on; None where it depends on none."""
    if not cell.requires_grad:
        return None
    gradient: Tensor | None = torch.autograd.grad(cell, image, retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        return None
    weights = gradient[0].abs().sum(dim=0).cpu().double()  # [rows, cols]
    weights = torch.where(weights < _LEAST * weights.max(), 0.0, weights)
    total = float(weights.sum())
    if not 0 < total < float("inf"):
        return None
    rows, cols = (torch.arange(n, dtype=weights.dtype) + 0.5 for n in weights.shape)
    return float(weights.sum(dim=1) @ rows) / total, float(weights.sum(dim=0) @ cols) / total


class _CentresOnly(TorchFunctionMode):
    """Replaces operations by simplified ones that keep only the centre of each receptive field."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        simplified = _SIMPLIFIED.get(getattr(func, "__name__", ""))
        # Within this method the mode itself is off.
        return simplified(func, *args, **(kwargs or {})) if simplified else func(*args, **(kwargs or {}))


def _centre_kernel(size: Any, like: Tensor) -> Tensor:
    """A kernel `[1, 1, rows, cols]` that takes the centre of its window: one pixel, or two or four where it is even."""
    axes = []
    for length in _pair(size):
        axis = like.new_zeros(length)
        axis[(length - 1) // 2] += 0.5
        axis[length // 2] += 0.5
        axes.append(axis)
    return torch.outer(*axes)[None, None]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _conv2d(
    func: Any,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The mean over channels at the centre of each window, for every output channel."""
    kernel = _centre_kernel(weight.shape[2:], x)
    out: Tensor = F.conv2d(x.mean(dim=1, keepdim=True), kernel, None, stride, padding, dilation)
    return out.repeat(1, len(weight), 1, 1)  # not expanded: activations may be computed in place


def _pool(
    func: Any,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *args: Any,
    dilation: Any = 1,
    **options: Any,
) -> Tensor:
    """The centre of each window, channel by channel."""
    shape = F.avg_pool2d(
        x, kernel_size, stride, padding, bool(options.get("ceil_mode", args and args[0]))
    ).shape
    down, across = _pair(stride or kernel_size)
    x = F.pad(x, (0, across - 1, 0, down - 1))  # with ceil_mode the last windows extend beyond the image
    # [B, D, rows, cols] -> [B*D, 1, rows, cols]
    alone = x.flatten(0, 1)[:, None]
    out = F.conv2d(
        alone, _centre_kernel(kernel_size, x), None, (down, across), _pair(padding), _pair(dilation)
    )
    return out[..., : shape[-2], : shape[-1]].reshape(shape)


def _linear(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.mean(dim=-1, keepdim=True).repeat(*[1] * (x.ndim - 1), len(weight))


def _norm(func: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
    """A scale of 1 for the whole tensor, at which every activation function has a gradient."""
    return x / x.detach().abs().mean().clamp(min=1e-12)


def _softmax(func: Any, x: Tensor, dim: int | None = None, *args: Any, **options: Any) -> Tensor:
    """Where tokens attend to each other, each attends to itself alone."""
    rows, cols = (x.shape[-2], x.shape[-1]) if x.ndim > 2 else (0, 1)
    if rows == cols and dim in (-1, x.ndim - 1):
        return torch.eye(rows, dtype=x.dtype, device=x.device).expand_as(x)
    out: Tensor = func(x, dim, *args, **options)
    return out


def _attention(
    func: Any, queries: Tensor, keys: Tensor, values: Tensor, *args: Any, **options: Any
) -> Tensor:
    if queries.shape[-2] == values.shape[-2]:
        return values
    out: Tensor = func(queries, keys, values, *args, **options)
    return out


def _statistic(func: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
    """Statistics over both axes of an image have no position on it."""
    out: Tensor = func(x, *args, **options)
    dim = options.get("dim", args[0] if args else None)
    return out.detach() if isinstance(dim, tuple | list) and len(dim) > 1 else out


def _global_pool(func: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
    out: Tensor = func(x, *args, **options)
    return out.detach()


_SIMPLIFIED: dict[str, Callable[..., Tensor]] = {
    "conv2d": _conv2d,
    "avg_pool2d": _pool,
    "max_pool2d": _pool,
    "linear": _linear,
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"), _norm),
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("mean", "norm", "amax"), _statistic),
    "adaptive_avg_pool2d": _global_pool,
}
