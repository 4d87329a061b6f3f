"""Error for an explanation method that a model does not support."""

from __future__ import annotations

from captioner.errors import UsageError


class UnsupportedMethodError(UsageError):
    """The method exists and is spelt correctly, but this model lacks what it needs; another method may work."""
