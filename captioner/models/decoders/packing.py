"""Which places of a batch hold words? What is computed word by word leaves the padding out.

Captions of a batch differ in length: of Flickr8k's batches nearly half is padding. Norms, projections, feed-forward
networks and logits, which are most of a decoder's work, see the words alone, in one row; attention gets them laid out
by caption, or by image, and padded. What is computed of a word does not depend on the padding, so nothing changes.

Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination" (the idea; here attention stays
padded, since captions are short).

Axis letters: `B` images, `C` captions per image, `L` tokens, `M` words in all, `Q` words of an image, `W` any width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Layout:
    """A padded way `[rows, length, W]` to lay out words `[M, W]`.

    Args:
        place: int64 `[M]`: where in `rows * length` each word stands, no two at the same.
        rows: How many rows.
        length: Their length.
    """

    def __init__(self, place: Tensor, rows: int, length: int) -> None:
        self.place, self.rows, self.length = place, rows, length

    def spread(self, words: Tensor) -> Tensor:
        """`[M, W]` -> `[rows, length, W]`, 0 where there is no word."""
        padded: Tensor = _Spread.apply(words, self.place, self.rows * self.length)
        return padded.view(self.rows, self.length, -1)

    def gather(self, padded: Tensor) -> Tensor:
        """`[rows, length, W]` -> `[M, W]`."""
        words: Tensor = _Gather.apply(padded.flatten(0, 1), self.place)
        return words


class Packing:
    """Where the words of a batch are.

    Args:
        real: bool `[B, C, L]`, False where a token is padding, which stands at the right.

    Attributes:
        place: int64 `[M]`: where in `B * C * L` each word stands.
        position: int64 `[M]`: its position in its caption.
        captions: Each caption is a row of `L`.
        images: Each image is a row of all words of its captions.
    """

    def __init__(self, real: Tensor) -> None:
        B, C, L = real.shape
        self.place = real.flatten().nonzero()[:, 0]
        self.position = self.place % L
        self.captions = Layout(self.place, B * C, L)
        of_image = real.flatten(1)
        Q = max(1, int(of_image.sum(dim=1).max()))
        # The n-th word of an image stands at n: [B, C*L] -> [M]
        nth = of_image.cumsum(dim=1) - 1 + Q * torch.arange(B, device=real.device)[:, None]
        self.images = Layout(nth.flatten()[self.place], B, Q)


class _Spread(torch.autograd.Function):
    """Rows to places of their own; unlike PyTorch's gradients of indexing, nothing is added up."""

    @staticmethod
    def forward(ctx: Any, words: Tensor, place: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(place)
        return words.new_zeros(size, words.shape[1]).index_copy_(0, place, words)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grad.index_select(0, place), None, None


class _Gather(torch.autograd.Function):
    """The way back."""

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
