"""Safe decoding of photos to upright RGB pixels with Pillow.

Only five formats are opened, each by its own decoder: Pillow's `Image.open` would also try decoders of rare formats
with a history of vulnerabilities. The size is read from the header and checked before any pixel is allocated.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from captioner.errors import ImageError
from captioner.image.formats import SUPPORTED, sniff, stored_mode
from captioner.image.jpeg import decode_fast
from captioner.image.orientation import swaps_axes, to_upright

MAX_PIXELS = 120_000_000
"""Default limit on rows × cols: allows 108-megapixel phone photos, decodes within about a gigabyte."""

_BAND = (
    2**16
)  # pixels copied from Pillow to NumPy at once: a second copy of a whole photo costs time and memory
_ORIENTATION_TAG = 0x0112
_BACKGROUND = 255  # white, as a page shows behind a transparent picture
_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,  # also for multi-picture files, of which it reads the first picture
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}
# Errors of Pillow's decoders on damaged data; any other error is a bug and must not be hidden.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded, upright photo.

    Attributes:
        pixels: uint8 `[rows, cols, 3]`, RGB, upright, C-contiguous and writable.
        size: (rows, cols) of the full upright photo; larger than `pixels` if a JPEG was decoded at a
        reduced scale.
        orientation: EXIF orientation of the file, 1–8; `pixels` are already rotated.
        path: The file, or None if the photo was given as bytes, image or array.
        animated: Whether the file contains further frames; `pixels` are its first.
        mode: The pixel format of the file, as in `formats.stored_mode`; None without file.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    orientation: int
    path: Path | None
    animated: bool = False
    mode: str | None = None


def read_photo(
    source: Path | str | bytes | Image.Image | NDArray[np.uint8],
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
) -> Photo:
    """Decode one photo completely and rotate it upright.

    Formats are JPEG, PNG, WEBP, GIF and BMP, from 1×1 pixel up. Of an animation the first frame is used; transparent
    pixels become white; 16-bit grey is scaled to 8 bits; grey, palette and CMYK become RGB.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an upright uint8 RGB array `[rows, cols, 3]`.
        max_pixels: Refuse photos of more pixels (rows × cols) before memory is allocated for them.
        min_size: (rows, cols). If given, a large JPEG may be decoded at 1/2, 1/4 or 1/8 of its scale, with at least
            this many upright pixels; several times faster. With the extra `fast`, JPEGs are decoded without Pillow,
            to the same pixels.

    Returns:
        The photo. Its pixels are a copy: changing them does not change `source`.

    Raises:
        ImageError: The photo is missing, not a photo, of an unsupported format, too large, truncated or damaged.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_image(source, "the image", None, max_pixels)
    if isinstance(source, bytes):
        return _from_stream(io.BytesIO(source), "the image given as bytes", None, max_pixels, min_size)
    path = Path(source)
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; name a photo in it")
        if not path.exists():
            raise ImageError(f"there is no photo {path}")
        if not path.is_file():
            raise ImageError(f"{path} is not a regular file; copy the photo to a file first")
        with path.open("rb") as stream:
            return _from_stream(stream, str(path), path, max_pixels, min_size)
    except (OSError, ValueError) as error:  # no permission, name too long, NUL byte in the name
        raise ImageError(f"cannot read {str(path)!r}: {_reason(error)}") from error


def photo_size(path: Path) -> tuple[int, int]:
    """The (rows, cols) of the upright photo in a file, from its header; decoded only if the header lacks it.

    Raises:
        ImageError: As `read_photo`.
    """
    with contextlib.suppress(*_DAMAGE), path.open("rb") as stream:
        kind = sniff(stream.read(512))
        stream.seek(0)
        if kind in _DECODERS:
            with _DECODERS[kind](stream, None) as image:
                cols, rows = image.size
                _check_size(rows, cols, str(path), MAX_PIXELS)
                return (cols, rows) if swaps_axes(_orientation(image)) else (rows, cols)
    return read_photo(path).size  # or its error


def _from_stream(
    stream: IO[bytes], name: str, path: Path | None, max_pixels: int, min_size: tuple[int, int] | None
) -> Photo:
    head = stream.read(512)
    stream.seek(0)
    kind = sniff(head)
    if kind not in _DECODERS:
        raise ImageError(
            f"{name} is {kind}: unsupported format, supported: {', '.join(SUPPORTED)}"
            if head
            else f"{name} is empty (0 bytes); copy it again"
        )
    try:
        image = _DECODERS[kind](stream, None)
    except _DAMAGE as error:
        raise _damaged(name, kind, error) from error
    with image:
        mode = stored_mode(image)  # before loading, which may change the mode
        if min_size is not None and isinstance(image, JpegImageFile):
            photo = _from_jpeg(image, stream, name, path, max_pixels, min_size)
        else:
            photo = _from_image(image, name, path, max_pixels)
        return replace(photo, animated=_animated(image), mode=mode)


def _from_jpeg(
    image: JpegImageFile,
    stream: IO[bytes],
    name: str,
    path: Path | None,
    max_pixels: int,
    min_size: tuple[int, int],
) -> Photo:
    """As `_from_image`, but at the lowest scale that keeps `min_size`, and by the fastest available decoder."""
    cols, rows = image.size
    _check_size(rows, cols, name, max_pixels)
    orientation = _orientation(image)
    need_rows, need_cols = min_size[::-1] if swaps_axes(orientation) else min_size
    try:
        image.draft(None, (need_cols, need_rows))
        stored = decode_fast(stream, image)
        if stored is None:
            image.load()
            stored = _to_rgb(image, name)
    except _DAMAGE as error:
        raise _damaged(name, "JPEG", error) from error
    return _upright(stored, (rows, cols), orientation, path)


def _from_image(image: Image.Image, name: str, path: Path | None, max_pixels: int) -> Photo:
    cols, rows = image.size
    _check_size(rows, cols, name, max_pixels)
    try:
        image.load()
        orientation = _orientation(image)  # after loading: a PNG may store it after the pixels
        stored = _to_rgb(image, name)
    except _DAMAGE as error:
        raise _damaged(name, image.format or "picture", error) from error
    return _upright(stored, (rows, cols), orientation, path)


def _upright(stored: NDArray[np.uint8], size: tuple[int, int], orientation: int, path: Path | None) -> Photo:
    """The photo of stored pixels without other references, and of the full stored size."""
    pixels = np.ascontiguousarray(to_upright(stored, orientation))
    full = size[::-1] if swaps_axes(orientation) else size
    return Photo(pixels=pixels, size=full, orientation=orientation, path=path)


def _from_array(array: NDArray[Any], max_pixels: int) -> Photo:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(
            f"the array is {array.dtype} {list(array.shape)}; a photo is uint8 [rows, cols, 3], RGB, 0–255"
        )
    rows, cols = array.shape[:2]
    _check_size(rows, cols, "the array", max_pixels)
    return Photo(pixels=np.array(array, order="C"), size=(rows, cols), orientation=1, path=None)


def _check_size(rows: int, cols: int, name: str, max_pixels: int) -> None:
    if rows < 1 or cols < 1:
        raise ImageError(f"{name} has {rows}×{cols} pixels; a photo needs at least 1×1")
    if rows * cols > max_pixels:
        raise ImageError(
            f"{name} has {rows}×{cols} = {rows * cols:,} pixels, over the limit of {max_pixels:,}; shrink it"
        )


def _animated(image: ImageFile.ImageFile) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except _DAMAGE:  # damage after the first frame, which is complete
        return False


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGE:  # a damaged EXIF block does not affect the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """The loaded image as uint8 RGB `[rows, cols, 3]`, as stored (not yet rotated)."""
    if image.mode.startswith("I;16"):
        return _from_grey16(image)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name} has 32-bit grey values of unknown range; save it with 8 or 16 bits per pixel"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = Image.new("RGB", image.size, (_BACKGROUND,) * 3)
        background.paste(rgba, mask=rgba.getchannel("A"))
        return _to_array(background)
    return _to_array(image)


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an opaque image as RGB, writable, copied in bands: uint8 `[rows, cols, 3]`."""
    cols, rows = image.size
    pixels = np.empty((rows, cols, 3), np.uint8)
    step = max(1, _BAND // cols)
    for top in range(0, rows, step):
        band = image.crop((0, top, cols, min(top + step, rows)))
        pixels[top : top + step] = np.asarray(band if image.mode == "RGB" else band.convert("RGB"))
    return pixels


def _from_grey16(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit grey scaled to 8 bits; Pillow's own conversion clips everything above 255 to white."""
    wide = np.asarray(image)
    grey = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 × 257
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[wide == transparent] = _BACKGROUND
    return np.repeat(grey[:, :, None], 3, axis=2)


def _damaged(name: str, kind: str, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, higher than ours
        return ImageError(f"{name} states more pixels than can be decoded safely; shrink it")
    return ImageError(
        f"{name} is a truncated or damaged {kind} file ({_reason(error)}); copy or export it again"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
