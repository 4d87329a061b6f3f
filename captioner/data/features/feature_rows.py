"""How is an image's feature grid stored? As half floats, or as bytes with a scale for each token.

Axis letters: `N` image tokens, `D` width of the features.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.errors import UsageError

Kept = Literal["fp16", "int8"]
Row = NDArray[np.void]
READABLE, UNREADABLE = 1, 2  # 0 would be what an unwritten row holds


def row_type(kept: Kept, tokens: int, dim: int) -> np.dtype[np.void]:
    """The NumPy type of one view of one image.

    Args:
        kept: "fp16" keeps half floats; "int8" keeps each token in steps of 1/255 between its lowest and its highest
            feature, which the bridge's layer norm per token suits.
        tokens: `N`.
        dim: `D`.

    Raises:
        UsageError: If `kept` is neither.
    """
    if kept not in get_args(Kept):
        raise UsageError(f"cache.dtype={kept} is not known; choose {' or '.join(get_args(Kept))}")
    fields: list[Any] = [("features", "<f2" if kept == "fp16" else "u1", (tokens, dim))]
    if kept == "int8":
        fields += [("low", "<f4", (tokens,)), ("step", "<f4", (tokens,))]
    return np.dtype([*fields, ("checksum", "<u4"), ("state", "<u4")], align=True)


def pack(features: Tensor, row: Row) -> float:
    """Put features float32 `[N, D]` into a row of `row_type`.

    Returns:
        What is lost: the root mean square of the difference over that of the features.

    Raises:
        UsageError: If the features are not finite, or beyond what half floats hold.
    """
    exact = features.numpy()
    if row["features"].dtype == np.uint8:
        low = exact.min(axis=1, keepdims=True)
        step = (exact.max(axis=1, keepdims=True) - low) / 255
        row["features"] = np.rint((exact - low) / np.where(step == 0, 1, step))
        row["low"], row["step"] = low[:, 0], step[:, 0]
    else:
        with np.errstate(over="ignore"):
            row["features"] = exact
    kept = _values(row)
    if not np.isfinite(kept).all():
        beyond = "are beyond 65504; take cache.dtype=int8" if np.isfinite(exact).all() else "are not finite"
        raise UsageError(f"the encoder's features cannot be kept as half floats: some {beyond}")
    row["checksum"], row["state"] = _checksum(row), READABLE
    scale = float(np.square(exact, dtype=np.float64).mean())
    lost = float(np.square(kept - exact, dtype=np.float64).mean())
    return math.sqrt(lost / scale) if scale else 0.0


def unpack(row: Row) -> Tensor | None:
    """The features float32 `[N, D]` of a row, or None if the row is damaged."""
    if int(row["checksum"]) != _checksum(row):
        return None
    return torch.from_numpy(_values(row))


def _values(row: Row) -> NDArray[np.float32]:
    values = row["features"].astype(np.float32)
    if "step" in (row.dtype.names or ()):
        values *= row["step"][:, None]
        values += row["low"][:, None]
    return values


def _checksum(row: Row) -> int:
    """Adler-32 of everything kept: any one byte changed shows, at three times the speed of CRC-32."""
    checksum = 1
    for name in (row.dtype.names or ())[:-2]:
        checksum = zlib.adler32(row[name].tobytes(), checksum)
    return checksum
