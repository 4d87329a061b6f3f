"""Copies of weights in the number format of autocast, made once and used by every step of a decode.

Without gradients autocast casts every weight anew at every call, which takes half of the time of a decoding step.
Within `reuse_copies` casts are kept. A copy is used while its weight is the same tensor of the same version, and
`drop_stale_copies`, with which every decode begins, also finds weights that changed without a new version
(`weight.data.mul_(2)`, weights gathered from other processes) by a fingerprint of a
sample of their values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from captioner.models import onednn

_SAMPLED = 1024
_REUSE: ContextVar[bool] = ContextVar("reuse_copies", default=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """A cast weight, and what its weight was when it was made."""

    cast: Tensor
    version: int
    address: int
    fingerprint: Tensor

    def is_of(self, weight: Tensor, dtype: torch.dtype, *, reorder: bool) -> bool:
        return (
            self.version == weight._version
            and self.address == weight.data_ptr()
            and self.cast.dtype is dtype
            and self.cast.is_mkldnn == (reorder and weight.ndim == 2)
        )


_COPIES = WeakTensorKeyDictionary()


@contextmanager
def reuse_copies() -> Iterator[None]:
    """Let `cast` keep its copies and use those that were kept; call `drop_stale_copies` before."""
    before = _REUSE.set(True)
    try:
        yield
    finally:
        _REUSE.reset(before)


def cast(weight: Tensor, dtype: torch.dtype, *, reorder: bool = False) -> Tensor:
    """A weight `[out, in]` or a bias `[out]` in another number format, without gradient.

    Args:
        weight: The parameter.
        dtype: The format.
        reorder: Whether `onednn.product` is to use it: a copy that is kept may then be `onednn.reordered`.
    """
    if weight.dtype is dtype or not _REUSE.get() or weight.is_inference():
        return weight.to(dtype)
    copy: _Copy | None = _COPIES.get(weight)
    if copy is None or not copy.is_of(weight, dtype, reorder=reorder):
        with torch.inference_mode(False), torch.no_grad():
            short = weight.detach().to(dtype)
            if reorder and short.ndim == 2:
                short = onednn.reordered(short)
            copy = _Copy(short, weight._version, weight.data_ptr(), _fingerprint(weight))
        _COPIES[weight] = copy
    return copy.cast


def drop_stale_copies(module: nn.Module) -> None:
    """Forget the copies of weights that have changed since, in whatever way."""
    if not len(_COPIES):
        return
    held: list[tuple[Tensor, _Copy]] = []
    for weight in module.parameters():
        copy: _Copy | None = _COPIES.get(weight)
        if copy is not None and (copy.version, copy.address) == (weight._version, weight.data_ptr()):
            held.append((weight, copy))
    if not held:
        return
    with torch.inference_mode(False), torch.no_grad():
        now = torch.stack([_fingerprint(weight) for weight, _ in held])
        changed = now != torch.stack([copy.fingerprint for _, copy in held])
    for (stale, _), is_changed in zip(held, changed.tolist(), strict=True):  # a GPU is waited for once
        if is_changed:
            del _COPIES[stale]


def _fingerprint(weight: Tensor) -> Tensor:
    """One number of up to `_SAMPLED` values of a tensor and their places: to read all would cost as much as a step."""
    values = weight.detach().flatten()
    values = values[:: max(1, values.numel() // _SAMPLED)]
    with torch.autocast(weight.device.type, enabled=False):
        return values @ _coefficients(values.numel(), values.dtype, values.device)


@lru_cache(maxsize=64)
def _coefficients(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers from 0.5 to 1.5 of which no two are alike: multiples of the golden ratio without their whole part."""
    multiples = torch.arange(count, device=device, dtype=torch.float64) * 0.6180339887498949
    return (multiples.frac() + 0.5).to(dtype)
