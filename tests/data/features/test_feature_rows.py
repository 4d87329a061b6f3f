from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from captioner.data.features.feature_rows import READABLE, Row, StoredType, pack, row_type, unpack
from captioner.errors import UsageError

features = arrays.arrays(np.float32, (3, 5), elements=st.floats(-1000, 1000, width=32))


def packed(values: np.ndarray, dtype: StoredType) -> tuple[Row, float]:
    row = np.zeros((), row_type(dtype, *values.shape))
    return row, pack(torch.from_numpy(values), row)


@given(features)
def test_half_floats_are_kept_to_eleven_bits(values: np.ndarray) -> None:
    row, _ = packed(values, "fp16")
    found = unpack(row)
    assert found is not None
    assert row["state"] == READABLE
    assert np.array_equal(found.numpy(), values.astype(np.float16).astype(np.float32))


@given(features)
def test_bytes_are_kept_to_half_a_step_of_their_token(values: np.ndarray) -> None:
    row, _ = packed(values, "int8")
    found = unpack(row)
    assert found is not None
    step = (values.max(axis=1) - values.min(axis=1)) / 255
    assert (
        np.abs(found.numpy() - values) <= 0.501 * step[:, None] + 1e-6 * np.abs(values).max() + 1e-42
    ).all()


def test_the_returned_error_is_the_actual_one() -> None:
    values = np.random.default_rng(0).gamma(0.3, size=(49, 1280)).astype(np.float32)
    for dtype, most in (("fp16", 0.0005), ("int8", 0.03)):
        row, error = packed(values, dtype)  # type: ignore[arg-type]
        found = unpack(row)
        assert found is not None
        assert error == pytest.approx(
            np.linalg.norm(found.numpy() - values) / np.linalg.norm(values), rel=1e-3
        )
        assert 0 < error < most


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_constant_tokens_are_exact(dtype: StoredType) -> None:
    values = np.array([[0, 0], [0.5, 0.5], [-3, -3]], np.float32)
    row, error = packed(values, dtype)
    found = unpack(row)
    assert found is not None
    assert np.array_equal(found.numpy(), values)
    assert error == 0


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_a_flipped_bit_is_detected(dtype: StoredType) -> None:
    row, _ = packed(np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32), dtype)
    raw = row.reshape(1).view(np.uint8)
    for byte in range(raw.size - 8):  # up to checksum and state
        raw[byte] ^= 16
        assert unpack(row) is None, byte
        raw[byte] ^= 16
    assert unpack(row) is not None


def test_features_beyond_half_floats_are_refused() -> None:
    values = np.array([[1.0, 70000.0]], np.float32)
    with pytest.raises(UsageError, match=r"65504.*cache\.dtype=int8"):
        packed(values, "fp16")
    row, _ = packed(values, "int8")
    assert unpack(row) is not None
    with pytest.raises(UsageError, match="some are not finite"):
        packed(np.array([[1.0, np.nan]], np.float32), "fp16")


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cache\.dtype=fp8 .*fp16.*int8"):
        row_type("fp8", 2, 2)  # type: ignore[arg-type]
