from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from captioner.caption import Caption
from captioner.errors import UsageError
from captioner.overlay.colour import blend
from captioner.overlay.legend import ramp
from captioner.overlay.map_selection import MapSelection
from captioner.overlay.picture import ACCENT, fit, word_picture

MakeCaption = Callable[..., Caption]
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_photo_map_word_and_scale_are_on_it(make_caption: MakeCaption) -> None:
    caption = make_caption()
    picture = np.asarray(word_picture(PHOTO, caption, 1, width=400))
    np.testing.assert_array_equal(picture[:300], blend(fit(PHOTO, 400, 560), caption, 1))
    bar = ramp(180, signed=False)
    assert any(np.array_equal(row[20:200], bar) for row in picture[300:])
    assert (picture[300:] == ACCENT).all(axis=-1).any(), "the word stands out"
    plain = np.asarray(word_picture(PHOTO, caption, None, width=400))
    np.testing.assert_array_equal(plain[:300], fit(PHOTO, 400, 560))
    assert not (plain[300:] == ACCENT).all(axis=-1).any()


def test_all_pictures_of_a_caption_have_one_size(make_caption: MakeCaption) -> None:
    caption = make_caption("a very long caption " * 5)
    assert len({word_picture(PHOTO, caption, i, width=300).size for i in (None, 0, 7, 19)}) == 1


def test_negative_numbers_are_drawn_and_the_scale_has_both_sides(make_caption: MakeCaption) -> None:
    shown = MapSelection(
        np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32), "occlusion", "nats"
    )
    picture = np.asarray(word_picture(PHOTO, make_caption(), 0, selection=shown, width=400))
    assert any(np.array_equal(row[20:200], ramp(180, signed=True)) for row in picture[300:])


@pytest.mark.parametrize("shape", [(1, 1), (1, 8000), (8000, 1), (3000, 2000)])
@pytest.mark.parametrize("text", ["", "w" * 300 + " собака 犬 🐈"])
def test_any_photo_and_any_text(make_caption: MakeCaption, shape: tuple[int, int], text: str) -> None:
    caption = make_caption(text, size=shape)
    picture = word_picture(np.zeros((*shape, 3), np.uint8), caption, 0 if text else None, width=200)
    assert picture.width == 200
    assert picture.height < 700


def test_a_word_that_is_not_there_is_refused(make_caption: MakeCaption) -> None:
    with pytest.raises(UsageError, match=r"word 7.*0 to 2"):
        word_picture(PHOTO, make_caption(), 7)


def test_the_whole_photo_is_shown() -> None:
    photo = np.zeros((300, 100, 3), np.uint8)
    photo[:, 50:] = 255
    small = fit(photo, 200, 150)
    assert small.shape == (150, 50, 3)
    assert small[:, 0].max() < 30
    assert small[:, -1].min() > 225
