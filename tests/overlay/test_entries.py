from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.caption import Alternative, Caption, Explanation, Word
from captioner.image.geometry import Box
from captioner.overlay.entries import PageEntry, entry_data, jpeg_uri
from captioner.overlay.page_maps import merge_choices

MakeCaption = Callable[..., Caption]

PHOTO = np.zeros((60, 80, 3), np.uint8)


def methods(entry: PageEntry) -> list[dict[str, Any]]:
    return list(json.loads(json.dumps(entry_data(entry), allow_nan=False))["methods"])


def test_maps_come_back_within_half_a_step(make_caption: MakeCaption) -> None:
    caption = make_caption("a dog runs", layers=2, heads=3)
    (data,) = methods(PageEntry(PHOTO, caption, "x"))
    assert (data["name"], data["title"], data["unit"], data["signed"]) == (
        "attention", "Attention", "attention", False
    )  # fmt: skip
    stored = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(3, 7, *data["grid"])
    peaks = np.array(data["peaks"]).reshape(3, 7, 1, 1)
    maps = stored * peaks / 255
    limit = peaks / 255 / 2 + 1e-3 * peaks
    assert (np.abs(maps[:, 0] - np.stack([word.map for word in caption.words])) <= limit[:, 0]).all()
    heads = caption.maps.reshape(3, 6, *data["grid"])
    assert (np.abs(maps[:, 1:] - heads) <= limit[:, 1:]).all()


def test_methods_come_in_the_order_asked_for_and_attention_always(make_caption: MakeCaption) -> None:
    caption = make_caption("a dog runs")
    rng = np.random.default_rng(0)
    signed = rng.normal(size=(3, 2, 6)).astype(np.float32)
    relevance = rng.random((3, 7, 7)).astype(np.float32)
    caption = replace(
        caption,
        explanations={
            "occlusion:2x6": Explanation(signed, "nats"),
            "grad_cam": Explanation(relevance, "relevance"),
        },
    )
    first, second, third = methods(PageEntry(PHOTO, caption, "x"))
    assert [first["title"], second["title"], third["title"]] == ["Occlusion, 2x6", "Grad cam", "Attention"]
    assert [first["unit"], second["unit"], third["unit"]] == ["nats", "relevance", "attention"]
    assert (third["layers"], third["heads"], first["layers"]) == (2, 3, 0)
    stored = np.frombuffer(base64.b64decode(first["maps"]), np.uint8).reshape(3, 2, 6).astype(int)
    peaks = np.array(first["peaks"])[:, None, None]
    np.testing.assert_allclose((stored - 128) / 127 * peaks, signed, atol=peaks.max() / 127)
    assert first["signed"]
    assert not second["signed"]
    own = np.frombuffer(base64.b64decode(third["maps"]), np.uint8).reshape(3, 7, 4, 5)[1, 0] / 255
    mean = caption.maps[1].mean(axis=(0, 1))
    np.testing.assert_allclose(own, mean / mean.max(), atol=0.003)


@pytest.mark.parametrize(("grid", "kept"), [((14, 14), (6, 16)), ((16, 16), (6, 0)), ((80, 80), (0, 0))])
def test_single_heads_then_layers_are_left_out_where_they_would_weigh_too_much(
    make_caption: MakeCaption, grid: tuple[int, int], kept: tuple[int, int]
) -> None:
    entry = PageEntry(PHOTO, make_caption("a dog runs", grid=grid, layers=6, heads=16), "x")
    (data,) = methods(entry)
    assert (data["layers"], data["heads"]) == kept
    assert data["left_out"] == {6: {16: "", 0: "heads"}, 0: {0: "layers"}}[kept[0]][kept[1]]
    assert data["pooled"] is None
    words = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).reshape(3, -1, *grid)
    assert words.shape[1] == {16: 1 + 96, 0: 1 + kept[0]}[kept[1]]
    if kept == (6, 0):
        mean = entry.caption.maps[1, 4].mean(axis=0)
        np.testing.assert_allclose(words[1, 5] / 255, mean / mean.max(), atol=0.003)


def test_grids_too_fine_become_coarser_with_their_mass_kept(make_caption: MakeCaption) -> None:
    rng = np.random.default_rng(5)
    caption = make_caption("a dog runs", grid=(120, 180))
    fine = rng.normal(size=(3, 180, 120)).astype(np.float32)
    coarse = rng.random((3, 7, 7)).astype(np.float32)
    caption = replace(
        caption,
        explanations={"occlusion": Explanation(fine, "nats"), "grad_cam": Explanation(coarse, "relevance")},
    )
    first, second, attention = methods(PageEntry(PHOTO, caption, "x"))
    assert (second["grid"], second["pooled"]) == ([7, 7], None)
    for data, own in ((first, fine), (attention, caption.maps.mean(axis=(1, 2)))):
        assert data["pooled"] == list(own.shape[1:])
        assert max(data["grid"]) < 180
        assert (data["grid"][0] < data["grid"][1]) == (own.shape[1] < own.shape[2])
        zero, steps = (128, 127) if data["signed"] else (0, 255)
        stored = np.frombuffer(base64.b64decode(data["maps"]), np.uint8).astype(float).reshape(3, -1)
        maps = (stored - zero) / steps * np.array(data["peaks"])[:, None]
        limit = max(data["peaks"]) / steps * np.sqrt(maps.shape[1])  # rounding of so many cells
        np.testing.assert_allclose(maps.sum(axis=1), own.sum(axis=(1, 2)), atol=limit)


def test_a_page_offers_what_any_photo_has(make_caption: MakeCaption) -> None:
    choices: dict[str, Any] = {}
    captions = [
        make_caption(""),
        make_caption("a dog", layers=2, heads=3),
        make_caption("a cat", layers=1, heads=4),
    ]
    for caption in captions:
        merge_choices(choices, methods(PageEntry(PHOTO, caption, "x")))
    assert choices == {
        "attention": {"name": "attention", "title": "Attention", "layers": 2, "heads": 4, "left_out": ""}
    }
    merge_choices(
        choices, methods(PageEntry(PHOTO, make_caption("a", layers=6, heads=16, grid=(40, 40)), "x"))
    )
    assert (choices["attention"]["layers"], choices["attention"]["left_out"]) == (6, "heads")


def test_alternatives_and_other_captions_are_given_on(make_caption: MakeCaption) -> None:
    caption = make_caption("dog runs")
    dog = replace(caption.words[0], alternatives=(Alternative("cat", -1.25), Alternative("", -3.0)))
    caption = replace(caption, words=(dog, caption.words[1]), others=(Alternative("a cat", -0.75),))
    data = json.loads(json.dumps(entry_data(PageEntry(PHOTO, caption, "x"))))
    assert [word["alternatives"] for word in data["words"]] == [[["cat", -1.25], ["", -3.0]], []]
    assert (data["others"], data["score"]) == ([["a cat", -0.75]], -0.5)


def test_places_are_shares_of_the_photo(make_caption: MakeCaption) -> None:
    caption = make_caption("dog", size=(100, 200), view=(-50, 0, 150, 200))
    data = entry_data(PageEntry(PHOTO, caption, "x", boxes={0: [(10, 20, 50, 100)]}))
    assert data["view"] == [-0.5, 0.0, 1.5, 1.0]
    assert data["words"][0]["boxes"] == [[0.1, 0.1, 0.5, 0.5]]
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
    assert "".join(word["gap"] + word["text"] for word in data["words"]) + str(data["tail"]) == text


def test_words_that_are_not_in_the_text_are_set_apart(make_caption: MakeCaption) -> None:
    whole = make_caption("dog cat")
    words = (Word("Dog", -1, 1, whole.words[0].map), whole.words[1])
    data = entry_data(PageEntry(PHOTO, Caption("dog cat", words, 0, 0, whole.maps, whole.geometry), "x"))
    assert [word["gap"] for word in data["words"]] == [" ", "dog "]


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
