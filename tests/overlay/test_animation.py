from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.caption import Caption
from captioner.overlay.animation import write_animation
from captioner.overlay.picture import word_picture

MakeCaption = Callable[..., Caption]
PHOTO = np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3).astype(np.uint8)


@pytest.mark.parametrize(("suffix", "near"), [("gif", 12), ("webp", 8)])
def test_frames_are_the_photo_and_each_word(
    make_caption: MakeCaption, tmp_path: Path, suffix: str, near: float
) -> None:
    caption = make_caption()
    path = tmp_path / f"a.{suffix}"
    write_animation(path, PHOTO, caption, width=240)
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (4, 0)  # type: ignore[attr-defined]
        for number, index in enumerate((None, 0, 1, 2)):
            animation.seek(number)
            frame = np.asarray(animation.convert("RGB")).astype(int)
            expected = np.asarray(word_picture(PHOTO, caption, index, width=240)).astype(int)
            # Dithered, so colours are true on the mean of neighbours.
            assert np.abs(frame - expected).mean() < near
            assert animation.info["duration"] == [1200, 900, 900, 1800][number]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
@pytest.mark.parametrize("text", ["", "dog", "dog dog"])
def test_short_captions(make_caption: MakeCaption, tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"a.{suffix}"
    maps = np.ones((len(text.split()), 1, 1, 2, 2), np.float32)  # two frames that differ in a line alone
    write_animation(path, PHOTO, make_caption(text, maps=maps), width=120)
    with Image.open(path) as animation:
        assert getattr(animation, "n_frames", 1) == 1 + len(text.split())
