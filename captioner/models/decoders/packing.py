"""Sequence packing: everything that is computed token by token leaves the padding out.

Captions of a batch differ in length: of Flickr8k's batches nearly half is padding. Norms, projections, feed-forward
networks and logits, which are most of a decoder's work, compute on the tokens alone, in one row; attention takes them
laid out by caption, or by image, and padded. A token's values do not depend on the padding, so nothing changes.

Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination" (the idea; here attention stays
padded, since captions are short).

Axis letters: `B` images, `C` captions per image, `L` tokens, `M` tokens in all, `Q` tokens of an image, `W` any width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Layout:
    """A padded layout `[rows, length, W]` of packed tokens `[M, W]`.

    Args:
        place: int64 `[M]`: where in `rows * length` each token stands, no two at the same.
        rows: Number of rows.
        length: Their length.
    """

    def __init__(self, place: Tensor, rows: int, length: int) -> None:
        self.place, self.rows, self.length = place, rows, length

    def spread(self, packed: Tensor) -> Tensor:
        """`[M, W]` -> `[rows, length, W]`, 0 where there is no token."""
        padded: Tensor = _Spread.apply(packed, self.place, self.rows * self.length)
        return padded.view(self.rows, self.length, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """`[rows, length, W]` -> `[M, W]`."""
        packed: Tensor = _Gather.apply(padded.flatten(0, 1), self.place)
        return packed


class Packing:
    """The layouts of a batch's tokens without its padding.

    Args:
        real: bool `[B, C, L]`, False where a token is padding, which stands at the right.

    Attributes:
        captions: Each caption is a row of `L`.
        images: Each image is a row of all tokens of its captions.
    """

    def __init__(self, real: Tensor) -> None:
        B, C, L = real.shape
        place = real.flatten().nonzero()[:, 0]
        self.captions = Layout(place, B * C, L)
        of_image = real.flatten(1)
        Q = max(1, int(of_image.sum(dim=1).max()))
        # The n-th token of an image stands at n: [B, C*L] -> [M]
        nth = of_image.cumsum(dim=1) - 1 + Q * torch.arange(B, device=real.device)[:, None]
        self.images = Layout(nth.flatten()[place], B, Q)


class _Spread(torch.autograd.Function):
    """Rows to distinct places; unlike in PyTorch's gradient of indexing, nothing is summed."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, place: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(place)
        return packed.new_zeros(size, packed.shape[1]).index_copy_(0, place, packed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grad.index_select(0, place), None, None


class _Gather(torch.autograd.Function):
    """The inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.size = padded.shape[0]
        return padded.index_select(0, place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, grad.shape[1]).index_copy_(0, place, grad), None
