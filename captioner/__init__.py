"""Training of image captioners on your own photos, with attention overlays for each word of a caption."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioner.caption import Caption, Word
    from captioner.pipeline import CaptionPipeline, load
    from captioner.version import __version__

__all__ = ["Caption", "CaptionPipeline", "Word", "__version__", "load"]

_MODULES = {
    "Caption": "captioner.caption",
    "CaptionPipeline": "captioner.pipeline",
    "Word": "captioner.caption",
    "__version__": "captioner.version",
    "load": "captioner.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `--help` is quick."""
    if name not in _MODULES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
