"""Names of the overlay kinds: what `overlay=` accepts."""

from __future__ import annotations

from collections.abc import Iterable

from captioner.errors import UsageError, did_you_mean

FILE_KINDS = ("png", "words", "gif", "webp", "svg", "pdf", "npz")
"""Files of one photo: contact sheet, one picture per word, two animations, two vector figures, arrays."""

OVERLAY_KINDS = ("html", *FILE_KINDS)
"""All kinds: the page of all photos, and the files of each."""


def check_kinds(names: Iterable[str]) -> None:
    """Check the names given as `overlay=`.

    Raises:
        UsageError: If one is not in `OVERLAY_KINDS`.
    """
    for name in names:
        if name not in OVERLAY_KINDS:
            raise UsageError(
                f"overlay={name} is unknown; choose from {', '.join(OVERLAY_KINDS)}, or null"
                f"{did_you_mean(name, OVERLAY_KINDS)}"
            )
