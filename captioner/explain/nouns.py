"""Which words of a caption are held against what a photo shows? The names that `captioner.data.nouns` finds."""

from __future__ import annotations

from captioner.data.nouns import coco_nouns

__all__ = ["coco_nouns"]
