"""Detection of file formats by their first bytes, not by their names."""

from __future__ import annotations

from PIL import Image

SUPPORTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The decoded formats. Others are named and refused."""

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"})
"""Suffixes (lower case) of photos in a folder."""

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)


def sniff(head: bytes) -> str:
    """The format of a file from its first bytes.

    Args:
        head: The first bytes of the file, ideally 512.

    Returns:
        One of `SUPPORTED`, or the name of another format ("HEIC", "a web page", "no known picture format").
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        if head[8:12] in _AVIF_BRANDS:
            return "AVIF"
        return "HEIC" if head[8:12] in _HEIC_BRANDS else "a video"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "SVG"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    return "no known picture format"


_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey",
    "La": "grey",
    "P": "palette",
    "PA": "palette",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "I;16": "16-bit grey",
    "I;16B": "16-bit grey",
}


def stored_mode(image: Image.Image) -> str:
    """The pixel format of an opened file: "RGB" for most, "CMYK", "grey", "palette with transparency"."""
    name = _MODES.get(image.mode, image.mode)
    return f"{name} with transparency" if image.has_transparency_data else name
