"""The page in a real browser: Chromium without a window, driven through chromedriver."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from captioner.caption import Caption, Word
from captioner.image.decode import read_photo
from captioner.image.geometry import ImageGeometry
from captioner.image.transforms import Fit, ImageTransform
from captioner.overlay.colour import COLOURS, OPACITY, UNSEEN, UNSEEN_LINE, upper_end
from captioner.overlay.entries import PageEntry
from captioner.overlay.map_selection import select_maps
from captioner.overlay.map_summary import entropy
from captioner.overlay.numbers import percent, two_digits
from tests.overlay.browser import Browser

MakeCaption = Callable[..., Caption]
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def coloured(
    map_: NDArray[np.float32], geometry: ImageGeometry, top: float, size: tuple[int, int], how: Any
) -> Any:
    """The colours `[H, W, 3]` that the viewer must show, by the package's own geometry."""
    level = np.clip(geometry.to_original(map_, size=size, resample=how) / top, 0, 1)
    return COLOURS[np.rint(level * 255).astype(np.uint8)].astype(int)


@pytest.mark.parametrize(
    ("view", "cells"),
    [
        (None, None),
        ((0, 10, 60, 70), None),
        ((-10, -5, 70, 85), None),
        # The places that cells look at may lie above and left of them, or below and right.
        (None, (-3.5, -3.5, 28.5, 28.5)),
        ((0, 10, 60, 70), (3.5, 3.5, 43.5, 43.5)),
    ],
)
@pytest.mark.parametrize("how", ["bilinear", "nearest"])
def test_the_canvas_equals_the_geometry(
    browser: Browser,
    make_caption: MakeCaption,
    view: tuple[float, ...] | None,
    cells: tuple[float, ...] | None,
    how: str,
) -> None:
    caption = make_caption(view=view, cells=cells)
    browser.open(PageEntry(PHOTO, caption, "x"))
    if how == "nearest":
        browser.set("Show cells", True)
    browser.words()[2].click()
    image = browser.canvas().astype(int)
    size = image.shape[:2]
    expected = coloured(
        caption.words[2].map, caption.geometry, upper_end(select_maps(caption), 0, "caption"), size, how
    )
    seen = caption.geometry.to_original(np.ones((1, 1), np.float32), size=size, resample="nearest") > 0
    # Maps travel as bytes, and the browser stores colours multiplied by their opacity.
    assert (np.abs(image[..., :3] - expected)[seen] <= 8).mean() > 0.99
    assert set(np.unique(image[..., 3]).tolist()) == {round(OPACITY * 255)}
    outside = image[..., 0][~seen]
    assert not outside.size or set(np.unique(outside).tolist()) <= {
        v + d for v in (UNSEEN, UNSEEN_LINE) for d in (-1, 0, 1)
    }


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_bright_spot_of_the_file_is_bright_on_the_page(
    browser: Browser, tmp_path: Path, fit: Fit, orientation: int
) -> None:
    """From a file with an EXIF turn through the transform and a map of its brightness to the canvas."""
    stored = np.zeros((90, 120, 3), np.uint8)
    stored[30:42, 66:78] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "spot.png", exif=exif)
    photo = read_photo(tmp_path / "spot.png")
    image, geometry = ImageTransform((64, 64), fit=fit, mean=(0, 0, 0), std=(1, 1, 1))(photo)
    bright = image[0].numpy().reshape(8, 8, 8, 8).mean(axis=(1, 3))
    bright = bright / bright.sum()
    caption = Caption("spot", (Word("spot", -0.1, 1.0, bright),), 0, 0, bright[None, None, None], geometry)
    browser.open(PageEntry(photo.pixels, caption, "x"))
    level = browser.canvas()[..., :3].astype(int).sum(axis=-1)
    assert level.shape[1] / level.shape[0] == pytest.approx(photo.size[1] / photo.size[0], rel=0.02)
    brightest = np.argwhere(level >= level.max() - 3).mean(axis=0) / level.shape
    spot = np.argwhere(photo.pixels[..., 0] > 0).mean(axis=0) / photo.size
    box = geometry.cell_box(0, 0, (8, 8))
    cell = np.array([box[2] - box[0], box[3] - box[1]]) / photo.size
    assert (np.abs(brightest - spot) <= cell / 2 + 0.01).all()


def test_the_first_photo_opens_with_its_first_content_word(
    browser: Browser, make_caption: MakeCaption
) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "one"), PageEntry(PHOTO, make_caption(seed=1), "two"))
    assert browser.chosen() == ["dog"]
    assert browser.canvas(0).any()
    assert not browser.canvas(1).any()


def test_words_by_mouse(browser: Browser, make_caption: MakeCaption) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    words = browser.words()
    first = browser.canvas()
    browser.point_at(words[2])
    pointed = browser.canvas()
    assert (pointed != first).mean() > 0.1
    assert browser.text(".readout").startswith("runs: ")
    assert browser.chosen() == ["dog"]
    browser.point_at(browser.driver.find_element(By.TAG_NAME, "h1"))
    np.testing.assert_array_equal(browser.canvas(), first)  # what was chosen is shown again
    words[2].click()
    browser.point_at(browser.driver.find_element(By.TAG_NAME, "h1"))
    np.testing.assert_array_equal(browser.canvas(), pointed)
    assert browser.chosen() == ["runs"]
    words[2].click()
    assert browser.chosen() == []
    browser.point_at(browser.driver.find_element(By.TAG_NAME, "h1"))
    assert not browser.canvas().any()


def test_words_by_keyboard_alone(browser: Browser, make_caption: MakeCaption) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    for _ in range(20):  # past the display options to the first word
        browser.press(Keys.TAB)
        if browser.run("return document.activeElement.classList.contains('word')"):
            break
    assert browser.chosen() == ["dog"]  # the sentence is one stop, at the word shown
    images = [browser.canvas()]
    for key, word in ((Keys.ARROW_RIGHT, "runs"), (Keys.ARROW_RIGHT, "runs"), (Keys.ARROW_LEFT, "dog")):
        browser.press(key)
        assert browser.chosen() == [word]
        images.append(browser.canvas())
    assert (images[0] != images[1]).any()
    np.testing.assert_array_equal(images[1], images[2])
    np.testing.assert_array_equal(images[0], images[3])
    browser.press(Keys.HOME)
    assert browser.chosen() == ["a"]
    browser.press(Keys.END, Keys.ARROW_LEFT)
    assert browser.chosen() == ["dog"]
    browser.press(Keys.ESCAPE)
    assert browser.chosen() == []
    assert not browser.canvas().any()
    browser.press(Keys.ENTER)
    assert browser.chosen() == ["dog"]
    browser.press(Keys.TAB)
    assert not browser.run("return document.activeElement.classList.contains('word')")


def test_layers_and_heads(browser: Browser, make_caption: MakeCaption) -> None:
    caption = make_caption()
    browser.open(PageEntry(PHOTO, caption, "x"))
    browser.words()[0].click()
    size = browser.canvas().shape[:2]

    def shows(maps: NDArray[np.float32]) -> None:
        expected = coloured(maps[0], caption.geometry, float(maps.max()), size, "bilinear")
        assert (np.abs(browser.canvas()[..., :3].astype(int) - expected) <= 10).mean() > 0.98

    shows(np.stack([word.map for word in caption.words]))
    browser.set("Layer", 2)
    shows(caption.maps[:, 1].mean(axis=1))
    browser.set("Head", 3)
    shows(caption.maps[:, 1, 2])
    browser.set("Layer", 0)
    shows(np.stack([word.map for word in caption.words]))
    assert browser.run("return document.querySelectorAll('.options select')[1].disabled")


def test_the_scale_is_told_in_numbers(browser: Browser, make_caption: MakeCaption) -> None:
    caption = make_caption()
    weak = int(np.argmin([word.map.max() for word in caption.words]))
    browser.open(PageEntry(PHOTO, caption, "x"))
    browser.words()[weak].click()
    shared = browser.canvas()
    assert browser.texts(".bar .ends span")[:2] == [
        "0",
        percent(upper_end(select_maps(caption), weak, "caption")),
    ]
    assert "the caption’s maximum" in browser.text(".bar")
    assert "4 × 5 cells. The mark is an even spread, 5.0%." in browser.text(".bar")
    browser.set("word", True)
    assert browser.texts(".bar .ends span")[:2] == [
        "0",
        percent(upper_end(select_maps(caption), weak, "word")),
    ]
    assert "this word’s maximum" in browser.text(".bar")
    assert browser.canvas()[..., :3].max() > shared[..., :3].max()
    browser.set("Opacity", 0.2)
    assert int(browser.canvas()[0, 0, 3]) == 51


def test_numbers_are_written_as_in_the_sheet(browser: Browser, make_caption: MakeCaption) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    shares = [
        0.0,
        1.0,
        1e-7,
        *np.random.default_rng(0).random(200),
        *(np.random.default_rng(1).random(200) / 500),
    ]
    assert browser.run("return arguments[0].map(percent)", shares) == [percent(share) for share in shares]


def test_the_table_says_it_all_in_words(browser: Browser, make_caption: MakeCaption) -> None:
    step = 0.5 / 255  # in which maps travel: whole numbers of it come back as they are
    maps = np.full((2, 1, 1, 3, 3), 5 * step, np.float32)
    maps[0, 0, 0, 0, 2] = 0.5
    maps[1, 0, 0, 1, 1] = 0.25
    caption = make_caption("dog runs", maps=maps)
    browser.open(PageEntry(PHOTO, caption, "x"))
    browser.run("document.querySelector('details.more').open = true")
    browser.run("return new Promise((done) => setTimeout(done, 50))")
    cells = browser.texts("tbody th, tbody td")
    p = [percent(float(np.exp(word.logprob))) for word in caption.words]
    bits = [two_digits(entropy(word.map)) for word in caption.words]
    places = ["strongest at the upper right (86% of it)", "strongest at the centre (76% of it)"]
    assert cells == [
        "dog",
        p[0],
        "58%",
        "50%",
        bits[0],
        places[0],
        "runs",
        p[1],
        "33%",
        "25%",
        bits[1],
        places[1],
    ]
    assert browser.text(".readout") == (
        f"dog: probability {p[0]}. 58% of its attention is on the photo, {places[0]}; at most 50% on one cell. "
        f"As spread out as {round(2 ** entropy(caption.words[0].map))} of 9 cells (entropy {bits[0]} bits)."
    )
    assert browser.run("return document.querySelector('.readout').getAttribute('aria-live')") == "polite"
    assert "upper right" in browser.run("return document.querySelector('canvas').getAttribute('aria-label')")


def test_boxes_are_outlined_for_their_word_only(browser: Browser, make_caption: MakeCaption) -> None:
    flat = np.zeros((3, 1, 1, 4, 4), np.float32)
    caption = make_caption(maps=flat)
    browser.open(PageEntry(PHOTO, caption, "x", boxes={1: [(15, 20, 45, 60)]}))
    light = browser.canvas()[..., :3].min(axis=-1) > 200
    rows, cols = np.nonzero(light)
    assert rows.min() / light.shape[0] == pytest.approx(15 / 60, abs=0.01)
    assert rows.max() / light.shape[0] == pytest.approx(45 / 60, abs=0.01)
    assert cols.min() / light.shape[1] == pytest.approx(20 / 80, abs=0.01)
    assert cols.max() / light.shape[1] == pytest.approx(60 / 80, abs=0.01)
    browser.words()[0].click()
    assert not (browser.canvas()[..., :3].min(axis=-1) > 200).any()


def test_hostile_text_is_shown_and_does_nothing(browser: Browser, make_caption: MakeCaption) -> None:
    evil = "</script><img/src=x/onerror=hacked=1> <script>hacked=1</script> \"'&amp;"
    browser.open(PageEntry(PHOTO, make_caption(evil), evil, (evil,)), title=evil)
    for word in browser.words():
        word.click()
    assert browser.run("return window.hacked === undefined")
    assert browser.run("return document.images.length") == 1
    for selector in ("h1", "h2", ".sentence", ".more li"):
        assert browser.text(selector) == evil
    assert browser.driver.title == evil


def test_the_page_may_not_reach_out(driver: Chrome, tmp_path: Path, make_caption: MakeCaption) -> None:
    browser = Browser(driver, tmp_path)
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    assert (
        browser.run(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))"
        )
        == []
    )
    assert browser.complaints() == []
    script = "document.body.append(Object.assign(new Image(), {src: 'pixel.png'}), document.createElement('script'))"
    browser.run(script + "; document.body.lastChild.textContent = 'window.hacked = 1'")
    complaints: list[str] = []

    def refused() -> bool:
        complaints.extend(browser.complaints())
        return sum("Content Security Policy" in text for text in complaints) >= 2

    assert browser.until(refused)  # the image and the script
    assert browser.run("return window.hacked === undefined")


def test_photos_are_prepared_as_they_come_near(browser: Browser, make_caption: MakeCaption) -> None:
    photo = np.zeros((400, 640, 3), np.uint8)
    browser.open(*(PageEntry(photo, make_caption("a dog", seed=i), str(i)) for i in range(24)))
    ready = "return document.querySelectorAll('.entry.ready').length"
    assert 1 <= browser.run(ready) < 10
    browser.run("document.querySelectorAll('.entry')[23].scrollIntoView()")
    assert browser.until(lambda: browser.words(23))
    assert browser.run(ready) < 20
    browser.words(23)[1].click()
    assert browser.canvas(23).any()
    # The first picture, out of sight, has released its memory; it is drawn again when it returns.
    assert browser.until(lambda: browser.run("return document.querySelector('canvas').width") == 0)
    browser.run("scrollTo(0, 0)")
    assert browser.until(lambda: browser.canvas(0).any())


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_hangs_over_the_edge(browser: Browser, make_caption: MakeCaption, width: int) -> None:
    text = "a dog " + "Donaudampfschifffahrtsgesellschaft" * 3 + " runs"
    browser.open(PageEntry(PHOTO, make_caption(text), "n" * 300 + ".jpg", ("r" * 200,)), title="T" * 200)
    browser.size(width, 800, phone=width < 500)
    browser.run("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_light_and_dark(browser: Browser, make_caption: MakeCaption) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    script = "return getComputedStyle(document.body)[arguments[0]].match(/\\d+/g).map(Number)"
    for dark in (False, True):
        browser.size(1200, 900, dark=dark)
        paper, ink = browser.run(script, "backgroundColor"), browser.run(script, "color")
        assert (max(paper) < 60) is dark
        assert abs(sum(paper) - sum(ink)) > 500


def test_extreme_photos_and_captions(browser: Browser, make_caption: MakeCaption) -> None:
    shapes = [(1, 1), (1, 8000), (8000, 1)]
    entries = [
        PageEntry(np.zeros((*shape, 3), np.uint8), make_caption(text, size=shape), "x")
        for shape in shapes
        for text in ("a dog", "")
    ]
    browser.open(*entries)
    for number in (0, 2, 4):
        browser.run("document.querySelectorAll('.entry')[arguments[0]].scrollIntoView()", number)
        assert browser.until(partial(browser.words, number))
        browser.words(number)[0].click()
        assert browser.canvas(number).any()
    script = "return document.querySelector('section:nth-of-type(2) .readout')?.textContent"
    assert "no words" in browser.until(lambda: browser.run(script))


def test_scripts_that_do_not_part_words_with_blanks(browser: Browser, make_caption: MakeCaption) -> None:
    whole = make_caption("犬 が 走る")
    caption = Caption("犬が走る", whole.words, 0, 0, whole.maps, whole.geometry)
    browser.open(PageEntry(PHOTO, caption, json.dumps("犬")))
    assert browser.text(".sentence") == "犬が走る"
    assert len(browser.words()) == 3
