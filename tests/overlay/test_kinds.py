from __future__ import annotations

import pytest

from captioner.errors import UsageError
from captioner.overlay.kinds import OVERLAY_KINDS, check_kinds


def test_every_kind_is_accepted() -> None:
    check_kinds(OVERLAY_KINDS)
    check_kinds([])


@pytest.mark.parametrize(
    ("name", "nearest"), [("htlm", "html"), ("pgn", "png"), ("word", "words"), ("wepb", "webp")]
)
def test_a_misspelt_kind_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"overlay={name} .*did you mean {nearest}\?"):
        check_kinds(["png", name])
