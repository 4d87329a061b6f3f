from __future__ import annotations

import contextlib
import gzip
import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from captioner.errors import ImageError
from captioner.image.decode import MAX_PIXELS, read_photo
from captioner.image.orientation import to_stored, to_upright

Pixels = NDArray[np.uint8]


@pytest.fixture
def noise() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encode(pixels: NDArray[np.generic] | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(rows: int, cols: int, *, depth: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    """A PNG written by hand, so that the header may lie about the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", cols, rows, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_the_very_pixels(kind: str, noise: Pixels) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read_photo(encode(noise, kind, **options))
    np.testing.assert_array_equal(photo.pixels, noise)
    assert photo.size == (48, 64)
    assert photo.orientation == 1
    assert photo.pixels.flags.c_contiguous
    assert photo.pixels.flags.writeable


def test_same_pixels_from_path_text_bytes_image_and_array(noise: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "ünïcode näme.png"
    path.write_bytes(encode(noise))
    for source in (path, str(path), path.read_bytes(), Image.open(path), noise):
        np.testing.assert_array_equal(read_photo(source).pixels, noise)
    assert read_photo(path).path == path
    assert read_photo(noise).path is None


def test_pixels_are_a_copy(noise: Pixels) -> None:
    before = noise.copy()
    read_photo(noise).pixels[:] = 0
    np.testing.assert_array_equal(noise, before)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_is_applied_and_undone(orientation: int, noise: Pixels) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(encode(noise, "PNG", exif=exif))
    image = Image.open(io.BytesIO(encode(noise, "PNG", exif=exif)))
    np.testing.assert_array_equal(photo.pixels, np.asarray(ImageOps.exif_transpose(image)))
    assert photo.orientation == orientation
    assert photo.size == photo.pixels.shape[:2]
    np.testing.assert_array_equal(to_stored(photo.pixels, orientation), noise)
    np.testing.assert_array_equal(to_upright(noise, orientation), photo.pixels)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_a_senseless_turn_is_none(value: int, noise: Pixels) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert read_photo(encode(noise, "PNG", exif=exif)).orientation == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_photo(noise: Pixels) -> None:
    data = encode(noise, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xee" * 40)
    assert read_photo(data).size == (48, 64)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("least", [(200, 300), (101, 101), (400, 600), (500, 100)])
def test_draft_is_at_least_as_large_as_asked(orientation: int, least: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, 900, dtype=np.uint8)
    stored = np.broadcast_to(ramp[None, :, None], (600, 900, 3)).copy()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", quality=95, exif=exif)
    full, draft = read_photo(data), read_photo(data, min_size=least)
    assert draft.size == full.size == full.pixels.shape[:2]
    rows, cols = draft.pixels.shape[:2]
    assert rows >= min(least[0], full.size[0])
    assert cols >= min(least[1], full.size[1])
    step = round(full.size[0] / rows)
    assert step in (1, 2, 4)
    reduced = full.pixels[: rows * step, : cols * step].astype(np.float32)
    reduced = reduced.reshape(rows, step, cols, step, 3).mean(axis=(1, 3))
    assert np.abs(reduced - draft.pixels).max() < 4


def test_draft_saves_pixels() -> None:
    data = encode(Image.new("RGB", (1600, 1600)), "JPEG")
    assert read_photo(data, min_size=(200, 200)).pixels.shape == (200, 200, 3)


def test_16_bit_grey_is_scaled() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    photo = read_photo(encode(ramp))
    np.testing.assert_array_equal(photo.pixels[..., 0].ravel(), np.arange(256))
    np.testing.assert_array_equal(photo.pixels[..., 0], photo.pixels[..., 2])


def test_16_bit_colour_is_scaled() -> None:
    data = np.tile(np.arange(0, 65536, 1024, dtype=">u2"), (4, 3, 1)).transpose(0, 2, 1)  # [4, 64, 3]
    rows = b"".join(b"\0" + row.tobytes() for row in data)
    photo = read_photo(png(4, 64, depth=16, colour=2, data=rows))
    assert np.abs(photo.pixels[0, :, 0].astype(int) - np.arange(0, 65536, 1024) / 257).max() <= 1


def test_transparency_shows_white_and_not_the_hidden_colour() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 0] = 200  # red, hidden in the first column, half shown in the second
    rgba[..., 3] = [0, 128, 255]
    row = read_photo(encode(rgba)).pixels[0]
    assert row[0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(row[1], [227, 127, 127], atol=1)
    assert row[2].tolist() == [200, 0, 0]


def test_palette_keeps_colours_and_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for x in range(3):
        image.putpixel((x, 0), x)
    for transparency in (1, bytes([255, 0, 255])):
        row = read_photo(encode(image, transparency=transparency)).pixels[0]
        assert row.tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr", "HSV", "I;16"])
def test_every_mode_of_a_given_image_becomes_rgb(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    assert read_photo(image).pixels.shape == (4, 5, 3)


def test_cmyk_jpeg_keeps_its_colours() -> None:
    image = Image.new("RGB", (16, 16), (250, 120, 10)).convert("CMYK")
    assert np.abs(read_photo(encode(image, "JPEG", quality=95)).pixels.astype(int) - [250, 120, 10]).max() < 6


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_grey_is_refused_and_not_black(mode: str) -> None:
    with pytest.raises(ImageError, match="32-bit grey values of unknown range"):
        read_photo(Image.new(mode, (4, 4)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    photo = read_photo(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(photo.pixels[4, 4], [255, 0, 0], atol=4)
    assert photo.animated
    assert not read_photo(encode(frames[0], kind)).animated


@pytest.mark.parametrize("shape", [(1, 1), (1, 8000), (8000, 1)])
def test_smallest_and_longest_photos(shape: tuple[int, int]) -> None:
    assert read_photo(encode(np.full((*shape, 3), 7, np.uint8))).size == shape


def test_trailing_bytes_after_a_jpeg_are_accepted(noise: Pixels) -> None:
    data = encode(noise, "JPEG")
    np.testing.assert_array_equal(read_photo(data + b"\0" * 5000).pixels, read_photo(data).pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF"])
def test_a_file_cut_short_is_refused_by_name(kind: str, noise: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    data = encode(noise, kind)
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cut\.jpg is a truncated or damaged"):
            read_photo(path)


def test_png_with_too_few_or_damaged_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_photo(png(48, 64, data=b"\0" * 100))
    data = bytearray(encode(np.zeros((64, 64, 3), np.uint8)))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_photo(bytes(data))


def test_damage_anywhere_is_an_image_error_or_a_photo(noise: Pixels) -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF"):
        good = np.frombuffer(encode(noise, kind), np.uint8)
        for _ in range(60):
            bad = good.copy()
            at = rng.integers(0, min(len(bad), 400), 3)
            bad[at] = rng.integers(0, 256, 3)
            with contextlib.suppress(ImageError):
                assert read_photo(bad.tobytes()).pixels.ndim == 3


def test_a_bomb_is_refused_before_memory_is_taken() -> None:
    lines = b"\0" * (1 + 1500)
    bomb = png(12_000, 12_000, depth=1, data=lines * 12_000)
    assert len(bomb) < 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (bomb, png(60_000, 60_000), b"GIF89a" + b"\xff" * 4 + b"\0\0\0" + b"\x2c" + b"\0" * 8):
        with pytest.raises(ImageError, match=r"over the limit of 120,000,000|truncated"):
            read_photo(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB on Linux
    assert MAX_PIXELS == 120_000_000


def test_a_webp_bomb_is_refused() -> None:
    canvas = (16_383 - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas + b"VP8L" + struct.pack("<I", 0)
    with pytest.raises(ImageError, match=r"more pixels than can be decoded|over the limit|truncated"):
        read_photo(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_the_limit_can_be_set(noise: Pixels) -> None:
    data = encode(noise)
    assert read_photo(data, max_pixels=48 * 64).size == (48, 64)
    for source in (data, noise, Image.fromarray(noise)):
        with pytest.raises(ImageError, match="48×64 = 3,072 pixels, over the limit of 3,071"):
            read_photo(source, max_pixels=48 * 64 - 1)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<!DOCTYPE html><html><body>404", "a web page"),
        (b'\n<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "a video"),
        (gzip.compress(b"photo", mtime=0), "a gzip archive"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"SIMPLE  =                    T", "no known picture format"),
        (encode(np.zeros((2, 2), np.float32), "TIFF"), "TIFF"),
        (encode(np.zeros((2, 2), np.uint8), "PPM"), "no known picture format"),
    ],
)
def test_other_files_are_named(head: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(head)
    supported = "unsupported format, supported: JPEG, PNG, WEBP, GIF, BMP"
    with pytest.raises(ImageError, match=f"photo.jpg is {kind}: {supported}"):
        read_photo(path)


def test_missing_empty_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"there is no photo .*gone\.jpg"):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder; name a photo in it"):
        read_photo(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg is empty \(0 bytes\)"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(ImageError, match="is not a regular file"):
        read_photo("/dev/zero")
    with pytest.raises(ImageError, match="there is no photo"):
        read_photo("nul\0byte.jpg")
    with pytest.raises(ImageError, match=r"cannot read|there is no photo"):
        read_photo("n" * 5000)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((3, 4, 4)), np.zeros((4, 4, 3))],
)
def test_other_arrays_are_refused(array: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match=r"a photo is uint8 \[rows, cols, 3\]"):
        read_photo(array)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="0×4 pixels"):
        read_photo(np.zeros((0, 4, 3), np.uint8))


def test_pillow_is_left_as_it_was() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    # In a process of its own: other libraries may have registered readers here already.
    code = (
        "from PIL import Image; before = Image.MAX_IMAGE_PIXELS\n"
        "from captioner.image.decode import read_photo\n"
        "assert Image.MAX_IMAGE_PIXELS == before and 'EPS' not in Image.OPEN and 'FITS' not in Image.OPEN"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )


@pytest.mark.real
def test_real_photos_decode_like_pillow(real_data: Path) -> None:
    for path in sorted((real_data / "coco" / "images").iterdir())[:10]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_photo(path).pixels, np.asarray(image.convert("RGB")))
