from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from captioner.caption import Caption, Word
from captioner.image.geometry import Box
from captioner.overlay.entries import PageEntry, entry_data, jpeg_uri

MakeCaption = Callable[..., Caption]

PHOTO = np.zeros((60, 80, 3), np.uint8)


def test_maps_come_back_within_half_a_step(make_caption: MakeCaption) -> None:
    caption = make_caption("a dog runs", layers=2, heads=3)
    data = json.loads(json.dumps(entry_data(PageEntry(PHOTO, caption, "x"))))
    stored = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(3, 7, *data["grid"])
    peaks = np.array(data["peaks"]).reshape(3, 7, 1, 1)
    maps = stored * peaks / 255
    limit = peaks / 255 / 2 + 1e-3 * peaks
    assert (np.abs(maps[:, 0] - np.stack([word.map for word in caption.words])) <= limit[:, 0]).all()
    heads = caption.maps.reshape(3, 6, *data["grid"])
    assert (np.abs(maps[:, 1:] - heads) <= limit[:, 1:]).all()


def test_heads_are_left_out_where_they_would_weigh_too_much(make_caption: MakeCaption) -> None:
    caption = make_caption("a dog runs far", grid=(37, 37), layers=6, heads=16)
    data = entry_data(PageEntry(PHOTO, caption, "x"))
    assert (data["layers"], data["heads"]) == (6, 1)
    stored = np.frombuffer(base64.b64decode(str(data["maps"])), np.uint8).reshape(4, 7, 37, 37)
    mean = caption.maps[1, 4].mean(axis=0)
    np.testing.assert_allclose(stored[1, 5] / 255, mean / mean.max(), atol=0.003)


def test_places_are_shares_of_the_photo(make_caption: MakeCaption) -> None:
    caption = make_caption("dog", size=(100, 200), view=(-50, 0, 150, 200))
    data = entry_data(PageEntry(PHOTO, caption, "x", boxes={0: [(10, 20, 50, 100)]}))
    assert data["view"] == [-0.5, 0.0, 1.5, 1.0]
    assert data["words"][0]["boxes"] == [[0.1, 0.1, 0.5, 0.5]]  # type: ignore[index]
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a dog runs.", ["a", "dog", "runs", "."]),
        ("犬が走る", ["犬", "が", "走る"]),
        ("“Hello,” she said", ["Hello", "she", "said"]),
        ("dog dog", ["dog", "dog"]),
        ("", []),
    ],
)
def test_words_and_gaps_make_the_text(make_caption: MakeCaption, text: str, words: list[str]) -> None:
    whole = make_caption(" ".join(words))
    data = entry_data(PageEntry(PHOTO, Caption(text, whole.words, 0, 0, whole.maps, whole.geometry), "x"))
    assert "".join(word["gap"] + word["text"] for word in data["words"]) + str(data["tail"]) == text  # type: ignore[attr-defined]


def test_words_that_are_not_in_the_text_are_set_apart(make_caption: MakeCaption) -> None:
    whole = make_caption("dog cat")
    words = (Word("Dog", -1, 1, whole.words[0].map), whole.words[1])
    data = entry_data(PageEntry(PHOTO, Caption("dog cat", words, 0, 0, whole.maps, whole.geometry), "x"))
    assert [word["gap"] for word in data["words"]] == [" ", "dog "]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "boxes", "start"),
    [("a dog runs", {}, 1), ("a dog runs", {2: [(0, 0, 9, 9)]}, 2), ("of a", {}, 0), ("", {}, None)],
)
def test_the_first_content_word_is_shown_first(
    make_caption: MakeCaption, text: str, boxes: dict[int, list[Box]], start: int | None
) -> None:
    assert entry_data(PageEntry(PHOTO, make_caption(text), "x", boxes=boxes))["start"] == start


@pytest.mark.parametrize(
    ("shape", "size"),
    [((60, 80), (80, 60)), ((1200, 1600), (640, 480)), ((4000, 1000), (320, 1280)), ((1, 8000), (640, 1))],
)
def test_photos_are_bounded(shape: tuple[int, int], size: tuple[int, int]) -> None:
    uri, width, height = jpeg_uri(np.full((*shape, 3), 90, np.uint8))
    assert (width, height) == size
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == size
