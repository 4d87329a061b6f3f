"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("captioner")
except metadata.PackageNotFoundError:  # a plain checkout
    __version__ = "0+checkout"
