"""Train an image captioner on your own photos, and see for each word where it looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from captioner.version import __version__

if TYPE_CHECKING:
    from captioner.caption import Caption, Word
    from captioner.pipeline import CaptionPipeline, load

__all__ = ["Caption", "CaptionPipeline", "Word", "__version__", "load"]

_HOMES = {
    "Caption": "captioner.caption",
    "CaptionPipeline": "captioner.pipeline",
    "Word": "captioner.caption",
    "load": "captioner.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import the public names only when they are used, so that `--help` is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
