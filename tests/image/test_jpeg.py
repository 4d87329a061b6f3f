"""Fast decoding of JPEGs, compared with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import ImageError
from captioner.image import jpeg
from captioner.image.decode import read_photo
from captioner.image.jpeg import decode_fast

pytestmark = pytest.mark.skipif(not jpeg.AVAILABLE, reason="needs captioner[fast]")
WHOLE = (10_000, 10_000)  # more pixels than there are: nothing is reduced


def photo(rows: int, cols: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((cols, rows), Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(1).integers(-20, 20, (rows, cols, 3))
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


def encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def fast(data: bytes, *, draft: tuple[int, int] | None = None) -> NDArray[np.uint8] | None:
    image = JpegImageFile(io.BytesIO(data), None)
    if draft is not None:
        image.draft(None, draft)
    return decode_fast(io.BytesIO(data), image)


@pytest.mark.parametrize("size", [(96, 128), (97, 131), (1, 1), (3, 200)])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 30, "subsampling": "4:2:0"},
        {"quality": 95, "subsampling": "4:2:2"},
        {"quality": 100, "subsampling": "4:4:4"},
        {"progressive": True},
    ],
    ids=str,
)
def test_the_pixels_are_those_of_pillow(size: tuple[int, int], options: dict[str, Any]) -> None:
    data = encode(photo(*size), **options)
    for step in (1, 2, 4, 8):
        draft = (-(-size[1] // step), -(-size[0] // step))
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", draft)
        expected = np.asarray(image)
        found = fast(data, draft=draft)
        assert found is not None
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_are_the_same_either_way(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(60, 90), exif=exif)
    expected = read_photo(data)
    found = read_photo(data, min_size=WHOLE)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert (found.size, found.orientation) == (expected.size, expected.orientation)
    assert found.pixels.flags.c_contiguous
    assert found.pixels.flags.writeable
    small = read_photo(data, min_size=(20, 20)).pixels
    monkeypatch.setattr(jpeg, "AVAILABLE", False)
    np.testing.assert_array_equal(read_photo(data, min_size=(20, 20)).pixels, small)
    np.testing.assert_array_equal(read_photo(data, min_size=WHOLE).pixels, expected.pixels)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_kinds_are_left_to_pillow(mode: str) -> None:
    data = encode(photo(40, 50).convert(mode))
    assert fast(data) is None
    np.testing.assert_array_equal(read_photo(data, min_size=WHOLE).pixels, read_photo(data).pixels)


def test_truncated_files_are_left_to_pillow_which_refuses_them() -> None:
    data = encode(photo(120, 160))
    for share in (0.5, 0.95):
        cut = data[: int(len(data) * share)]
        assert fast(cut) is None
        with pytest.raises(ImageError, match="truncated or damaged JPEG"):
            read_photo(cut, min_size=WHOLE)


def test_trailing_bytes_are_accepted() -> None:
    data = encode(photo(40, 50))
    for more in (b"\0" * 5000, b"\xff" * 9, data):
        pixels = read_photo(data + more, min_size=WHOLE).pixels
        np.testing.assert_array_equal(pixels, read_photo(data).pixels)


def test_damage_anywhere_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Pillow refuses is refused, and what it accepts has its pixels."""

    def outcome(data: bytes) -> NDArray[np.uint8] | None:
        try:
            return read_photo(data, min_size=WHOLE).pixels
        except ImageError:
            return None

    good = np.frombuffer(encode(photo(48, 64)), np.uint8)
    rng = np.random.default_rng(2)
    files = []
    for _ in range(80):
        bad = good.copy()
        bad[rng.integers(2, len(bad), 3)] = rng.integers(0, 256, 3)
        files.append(bad.tobytes())
    found = [outcome(data) for data in files]
    monkeypatch.setattr(jpeg, "AVAILABLE", False)
    for data, pixels in zip(files, found, strict=True):
        expected = outcome(data)
        assert (pixels is None) == (expected is None)
        if pixels is not None and expected is not None:
            np.testing.assert_array_equal(pixels, expected)


def test_very_large_files_are_left_to_pillow() -> None:
    data = encode(photo(40, 50)) + bytes(64 * 2**20)
    assert fast(data) is None
    np.testing.assert_array_equal(read_photo(data, min_size=WHOLE).pixels, read_photo(data).pixels)
