"""Exceptions whose messages are for the user, the hint for a misspelt name, and the exit status of a command."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class CaptionerError(Exception):
    """Base of the errors that this package raises on purpose.

    The message says in a sentence or two what is wrong, where (a path, a field, a value) and what to do. Commands print
    it without a traceback and end with `exit_status`.
    """

    exit_status = 1


class UsageError(CaptionerError):
    """A request that cannot be met as made: a missing folder, an unknown name, a value out of range."""

    exit_status = 2


class ImageError(CaptionerError):
    """A photo that cannot be read. Commands that take many photos report it and continue."""


class DataError(UsageError):
    """Files of a dataset that are missing, malformed or inconsistent."""


class ModelFileError(UsageError):
    """A model file that is not of this package, is damaged, or asks for something that is not allowed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint "; did you mean X?" for the known name nearest to `name`, or "" where none is near.

    A message about an unknown name ends with it: `f"unknown setting {name}{did_you_mean(name, settings)}"`.
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def status_of(task: Callable[[], int]) -> int:
    """The exit status that `task` returns; a mistake of the user ends the process with one line on standard error."""
    try:
        return task()
    except CaptionerError as error:
        fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        fail(UsageError(f"{error.filename}: {error.strerror}; check output_dir and the other paths"))


def fail(error: CaptionerError) -> NoReturn:
    """Print an error in one line on standard error and end the process with the error's status."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)
