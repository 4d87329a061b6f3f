"""What becomes of an entry that is wrong? It ends the reading, or is left out and counted, as `on_bad` says."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Literal, get_args

from captioner.errors import DataError, UsageError

OnBad = Literal["stop", "skip"]

_KEPT = 1000  # messages; a file that is wrong in every line would fill memory with them


class Faults:
    """What is wrong with the entries of a dataset's files.

    Whatever reads one entry is put inside `with faults:`. A `DataError` raised there ends the reading, or is kept
    and swallowed, so that the next entry is read.

    Args:
        on_bad: "stop" at the first, or "skip" them.

    Attributes:
        count: Entries left out.
        messages: What was wrong with them, each with file and line or field; the first 1,000.
        place: Makes messages more exact, where a reader knows how; None leaves them.

    Raises:
        UsageError: `on_bad` is something else.
    """

    def __init__(self, on_bad: OnBad) -> None:
        if on_bad not in get_args(OnBad):
            raise UsageError(f"data.on_bad={on_bad} must be stop or skip")
        self.skip = on_bad == "skip"
        self.count = 0
        self.messages: list[str] = []
        self.place: Callable[[str], str] | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, DataError):
            return False
        if self.place is not None and (not self.skip or self.count < _KEPT):
            error.args = (self.place(str(error)),)
        if not self.skip:
            return False
        self.count += 1
        if self.count <= _KEPT:
            self.messages.append(str(error))
        return True

    def hint(self) -> str:
        """What to add to an error that may come of entries left out."""
        return f"; left out as faulty: {self.count:,}, the first: {self.messages[0]}" if self.count else ""
