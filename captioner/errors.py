"""What can go wrong, in words meant for the person who typed the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CaptionerError(Exception):
    """Base of every error this package raises on purpose.

    The message is one sentence or two that say what is wrong, where (a path, a field, a value) and what to do.
    The commands print it without a traceback and leave with `exit_status`.
    """

    exit_status = 1


class UsageError(CaptionerError):
    """What was asked for cannot be done as asked: a missing folder, an unknown name, a value out of range."""

    exit_status = 2


class ImageError(CaptionerError):
    """One photo cannot be read. Whoever captions many photos reports it and goes on."""


class DataError(UsageError):
    """A dataset's files are missing, malformed or do not fit together."""


class ModelFileError(UsageError):
    """A model file is not ours, damaged, or asks for something that is not allowed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint "; did you mean X?" for the known name nearest to `name`, or "" where none is near.

    A message about an unknown name ends with it: `f"unknown setting {name}{did_you_mean(name, settings)}"`.
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
