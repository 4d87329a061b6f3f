"""Storage format of feature grids: half floats, or bytes with a scale for each token.

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

from captioner.errors import UsageError, did_you_mean

StoredType = Literal["fp16", "int8"]
Row = NDArray[np.void]
READABLE, UNREADABLE = 1, 2  # 0 is an unwritten row


def row_type(dtype: StoredType, tokens: int, dim: int) -> np.dtype[np.void]:
    """The NumPy type of one view of one image.

    Args:
        dtype: "fp16" stores half floats; "int8" stores each token in steps of 1/255 between its lowest and its highest
            feature, which matches the bridge's layer norm per token.
        tokens: `N`.
        dim: `D`.

    Raises:
        UsageError: If `dtype` is neither.
    """
    known = get_args(StoredType)
    if dtype not in known:
        raise UsageError(
            f"cache.dtype={dtype} is not known; choose {' or '.join(known)}{did_you_mean(dtype, known)}"
        )
    fields: list[Any] = [("features", "<f2" if dtype == "fp16" else "u1", (tokens, dim))]
    if dtype == "int8":
        fields += [("low", "<f4", (tokens,)), ("step", "<f4", (tokens,))]
    return np.dtype([*fields, ("checksum", "<u4"), ("state", "<u4")], align=True)


def pack(features: Tensor, row: Row) -> float:
    """Store features float32 `[N, D]` in a row of `row_type`.

    Returns:
        The rounding error: the root mean square of the difference, relative to that of the features.

    Raises:
        UsageError: If the features are not finite, or beyond the range of half floats.
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
    stored = _values(row)
    if not np.isfinite(stored).all():
        beyond = "are beyond 65504; set cache.dtype=int8" if np.isfinite(exact).all() else "are not finite"
        raise UsageError(f"the encoder's features cannot be stored as half floats: some {beyond}")
    row["checksum"], row["state"] = _checksum(row), READABLE
    scale = float(np.square(exact, dtype=np.float64).mean())
    error = float(np.square(stored - exact, dtype=np.float64).mean())
    return math.sqrt(error / scale) if scale else 0.0


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
    """Adler-32 of all stored values: detects any changed byte, at three times the speed of CRC-32."""
    checksum = 1
    for name in (row.dtype.names or ())[:-2]:
        checksum = zlib.adler32(row[name].tobytes(), checksum)
    return checksum
