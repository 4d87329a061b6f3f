"""Handling of faulty entries as `on_bad` says: stop at the first, or leave them out and count them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Literal, get_args

from captioner.errors import DataError, UsageError, did_you_mean

OnBad = Literal["stop", "skip"]

_MAX_MESSAGES = 1000  # a file with a fault in every line would fill memory with messages


def check_on_bad(on_bad: str) -> None:
    """Raise `UsageError` unless `on_bad` is "stop" or "skip"."""
    known = get_args(OnBad)
    if on_bad not in known:
        raise UsageError(f"data.on_bad={on_bad} must be stop or skip{did_you_mean(on_bad, known)}")


class Faults:
    """The faulty entries of a data set's files.

    The code that reads one entry runs inside `with faults:`. A `DataError` raised there propagates, or is recorded
    and suppressed, so that the next entry is read.

    Args:
        on_bad: "stop" at the first faulty entry, or "skip" them.

    Attributes:
        skip: Whether faulty entries are skipped.
        count: Entries left out.
        messages: Their error messages, each with file and line or field; the first 1,000.
        add_location: Adds a location to a message; None leaves messages as they are.

    Raises:
        UsageError: `on_bad` is neither.
    """

    def __init__(self, on_bad: OnBad) -> None:
        check_on_bad(on_bad)
        self.skip = on_bad == "skip"
        self.count = 0
        self.messages: list[str] = []
        self.add_location: Callable[[str], str] | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, DataError):
            return False
        if self.add_location is not None and (not self.skip or self.count < _MAX_MESSAGES):
            error.args = (self.add_location(str(error)),)
        if not self.skip:
            return False
        self.count += 1
        if self.count <= _MAX_MESSAGES:
            self.messages.append(str(error))
        return True

    def hint(self) -> str:
        """A clause for an error that may be caused by entries left out."""
        return f"; left out as faulty: {self.count:,}, the first: {self.messages[0]}" if self.count else ""
