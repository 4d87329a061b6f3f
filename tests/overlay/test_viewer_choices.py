"""Methods, two words side by side, pictures saved, pages, touch and screen readers: the page in a real browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from captioner.caption import Alternative, Caption, Explanation
from captioner.overlay.colour import colours_of, upper_end
from captioner.overlay.entries import PageEntry
from captioner.overlay.map_selection import select_maps
from captioner.overlay.map_summary import entropy, where
from captioner.overlay.numbers import two_digits
from tests.overlay.browser import Browser

MakeCaption = Callable[..., Caption]
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def explained(make_caption: MakeCaption) -> Caption:
    """Words with alternatives, a method that has negative numbers on a grid of its own, and other captions."""
    caption = make_caption("a dog runs")
    rng = np.random.default_rng(3)
    words = tuple(
        replace(
            word,
            alternatives=(Alternative(word.text, word.logprob), Alternative("cat", -3), Alternative("", -5)),
        )
        for word in caption.words
    )
    return replace(
        caption,
        words=words,
        explanations={
            "attention": Explanation(np.stack([word.map for word in words]), "attention"),
            "occlusion": Explanation(rng.normal(size=(3, 3, 6)).astype(np.float32), "nats"),
        },
        others=(Alternative("a cat <b>runs</b>", -0.75), Alternative("", -2.0)),
    )  # fmt: skip


def colours(caption: Caption, word: int, method: str, size: tuple[int, int]) -> NDArray[np.int64]:
    """What the viewer must show of a word, by the package's own geometry and colours."""
    shown = select_maps(caption, method)
    levels = caption.geometry.to_original(shown.of(word), size=size) / upper_end(shown, word, "caption")
    return colours_of(levels, signed=shown.signed).astype(int)


def test_a_method_is_chosen_and_negative_numbers_have_their_own_colours(
    browser: Browser, explained: Caption
) -> None:
    browser.open(PageEntry(PHOTO, explained, "x"))
    for method in ("attention", "occlusion", "attention"):
        browser.set("Method", method)
        image = browser.canvas()
        expected = colours(explained, 1, method, image.shape[:2])
        assert (np.abs(image[..., :3].astype(int) - expected) <= 10).mean() > 0.98
        assert browser.run("return document.querySelectorAll('.options select')[1].disabled") is (
            method == "occlusion"
        )
    browser.set("Method", "occlusion")
    end = two_digits(upper_end(select_maps(explained, "occlusion"), 1, "caption"))
    assert browser.texts(".bar .ends span") == [f"−{end} nats", "0", f"{end} nats"]
    assert "nats of the word’s log-probability due to one of 3 × 6 cells" in browser.text(".bar")
    assert "Orange" in browser.text(".bar")
    told = where(explained.explanations["occlusion"].values[1], explained.geometry)
    assert f"Occlusion: {told}" in browser.text(".readout")


def test_two_words_side_by_side(browser: Browser, explained: Caption) -> None:
    browser.open(PageEntry(PHOTO, explained, "x"))
    alone = browser.canvas()
    browser.click("Compare two words")
    assert browser.texts(".pane-title") == ["Left: dog", "Right: runs"]
    left, right = browser.canvas(0), browser.canvas(1)
    np.testing.assert_array_equal(left, alone)
    assert (left != right).any()
    browser.words()[0].click()  # words change the right picture
    assert browser.texts(".pane-title") == ["Left: dog", "Right: a"]
    np.testing.assert_array_equal(browser.canvas(0), alone)
    assert (browser.canvas(1) != right).any()
    assert browser.chosen() == ["a", "dog"]
    assert [text.split(":")[0] for text in browser.texts(".readout p")] == ["dog", "a"]
    browser.click("Left: dog")
    browser.press(Keys.TAB)
    browser.run("document.querySelectorAll('.word')[1].focus()")
    browser.press(Keys.ARROW_RIGHT)  # now the left one, by the keyboard
    assert browser.texts(".pane-title") == ["Left: runs", "Right: a"]
    np.testing.assert_array_equal(browser.canvas(0), right)
    browser.set("Method", "occlusion")
    for pane, word in ((0, 2), (1, 0)):
        image = browser.canvas(pane)
        expected = colours(explained, word, "occlusion", image.shape[:2])
        assert (np.abs(image[..., :3].astype(int) - expected) <= 10).mean() > 0.98
    browser.click("Compare two words")
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".stage")) == 1


@pytest.mark.parametrize("two", [False, True])
def test_a_picture_of_the_view_is_saved(
    browser: Browser, explained: Caption, tmp_path: Path, two: bool
) -> None:
    browser.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    photo = np.full((60, 80, 3), 200, np.uint8)
    browser.open(PageEntry(photo, explained, 'folder/a "dog" <script>.jpg'))
    if two:
        browser.click("Compare two words")
    browser.click("Save as PNG")
    name = "a-dog-script-dog-runs.png" if two else "a-dog-script-dog.png"
    assert browser.until((tmp_path / name).exists), [path.name for path in tmp_path.iterdir()]
    saved = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
    canvas = browser.canvas(0).astype(int)
    rows, cols = canvas.shape[:2]
    alpha = canvas[..., 3:] / 255
    picture = saved[24 : 24 + rows, 24 : 24 + cols]
    assert np.abs(picture - (200 * (1 - alpha) + canvas[..., :3] * alpha)).mean() < 4
    assert saved.shape[1] == (1 + two) * (cols + 24) + 24
    assert (saved[24 + rows + 10 :] < 80).any(axis=-1).sum() > 500, "words and the scale stand below"


def test_alternatives_and_other_captions(browser: Browser, explained: Caption) -> None:
    browser.open(PageEntry(PHOTO, explained, "x"))
    assert browser.texts(".alternatives li > :first-child") == ["dog", "cat", "(end)"]
    assert browser.texts(".alternatives .number")[1:] == ["5.0%", "0.7%"]
    assert browser.texts(".alternatives .own > :first-child") == ["dog"]
    browser.point_at(browser.words()[2])
    assert browser.texts(".alternatives .own > :first-child") == ["runs"]
    assert browser.texts(".more summary")[0].startswith("2 other captions")
    assert browser.texts(".more li") == ["a cat <b>runs</b> −0.75", "(no words) −2.0"]


def test_arrow_keys_work_before_anything_is_touched(browser: Browser, make_caption: MakeCaption) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    assert browser.run("return document.activeElement === document.body")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.chosen() == ["runs"]
    browser.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert browser.chosen() == ["a"]


def test_words_by_touch_on_a_phone(browser: Browser, explained: Caption) -> None:
    browser.open(PageEntry(PHOTO, explained, "x"))
    browser.size(390, 844, phone=True)
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        before = browser.canvas()
        word = browser.words()[2]
        browser.run("arguments[0].scrollIntoView({block: 'center'})", word)
        box = browser.run(
            "const b = arguments[0].getBoundingClientRect(); return [b.x + b.width / 2, b.y + 12]", word
        )
        top = browser.run("return arguments[0].getBoundingClientRect().top", word)
        at = {"x": box[0], "y": box[1]}
        browser.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]}
        )
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert browser.until(lambda: browser.chosen() == ["runs"])
        assert (browser.canvas() != before).any()
        # What is touched stays where it is, and can be hit with a finger.
        assert browser.run("return arguments[0].getBoundingClientRect().top", word) == pytest.approx(
            top, abs=1
        )
        assert browser.run("return arguments[0].getBoundingClientRect().height", word) >= 32
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_what_a_screen_reader_finds(browser: Browser, explained: Caption) -> None:
    browser.open(PageEntry(PHOTO, explained, "photo.jpg"))
    nodes = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = {
        (node["role"].get("value"), node.get("name", {}).get("value"))
        for node in nodes
        if not node["ignored"]
    }
    words = [
        f"{role}: {name}" for role, name in found if role in ("button", "img", "image", "group", "combobox")
    ]
    for expected in (
        ("heading", "photo.jpg"), ("button", "dog"), ("button", "Compare two words"), ("button", "Save as PNG"),
        ("combobox", "Method"), ("slider", "Opacity"), ("checkbox", "Show cells"), ("radio", "word"),
        ("group", "Words of the caption; arrow keys move from word to word"),
    ):  # fmt: skip
        assert expected in found, words
    shown = where(explained.words[1].map, explained.geometry)
    assert any(name == f"Attention of “dog”: {shown}" for role, name in found if role in ("img", "image")), (
        words
    )
    assert any(name == "a dog runs" for role, name in found if role in ("img", "image")), words
    pressed = [n["name"]["value"] for n in nodes for p in n.get("properties", ())
               if p["name"] == "pressed" and p["value"].get("value") in ("true", True)]  # fmt: skip
    assert pressed == ["dog"]


def test_python_and_page_tell_maps_alike(browser: Browser, make_caption: MakeCaption) -> None:
    for view, seed in ((None, 1), ((0, 10, 60, 70), 2), ((-10, -5, 70, 85), 3)):
        caption = make_caption(view=view, grid=(5, 4), seed=seed)
        browser.open(PageEntry(PHOTO, caption, "x"))
        browser.run("document.querySelector('details.more').open = true")
        assert browser.until(lambda: len(browser.texts("tbody tr")) == 3)
        cells = browser.texts("tbody td")
        for word, bits, place in zip(caption.words, cells[3::5], cells[4::5], strict=True):
            assert float(bits) == pytest.approx(entropy(word.map), abs=0.06)
            told = where(word.map, caption.geometry)
            assert place.split("(")[0] == told.split("(")[0]


@pytest.mark.parametrize(
    "numbers", [[0, 1, -1, 0.5, -0.25, 0.00001234, 123456, 1.5e7, 0.0999, 9.96, 99.6, 0.00951]]
)
def test_numbers_are_written_as_by_python(
    browser: Browser, make_caption: MakeCaption, numbers: list[float]
) -> None:
    browser.open(PageEntry(PHOTO, make_caption(), "x"))
    numbers += (np.random.default_rng(0).normal(size=100) * 10.0 ** np.arange(-6, 4).repeat(10)).tolist()
    assert browser.run("return arguments[0].map(twoDigits)", numbers) == [two_digits(n) for n in numbers]


def test_many_photos_come_in_pages(browser: Browser, make_caption: MakeCaption) -> None:
    photo = np.zeros((30, 40, 3), np.uint8)
    browser.open(*(PageEntry(photo, make_caption("a dog", seed=i), str(i)) for i in range(60)))

    def seen() -> list[Any]:
        script = """
        const shown = [...document.querySelectorAll('.entry')].filter((node) => !node.hidden);
        return shown.map((node) => node.querySelector('h2').textContent);"""
        return list(browser.run(script))

    assert seen() == [str(i) for i in range(24)]
    assert browser.texts(".pager .count") == ["Photos 1–24 of 60"] * 2
    browser.click("Next")
    assert seen() == [str(i) for i in range(24, 48)]
    browser.run(
        "const n = document.querySelector('.pager input'); n.value = 3; n.dispatchEvent(new Event('change'))"
    )
    assert seen() == [str(i) for i in range(48, 60)]
    assert browser.texts(".pager .count") == ["Photos 49–60 of 60"] * 2
    browser.until(lambda: browser.words(50))
    browser.words(50)[1].click()
    assert browser.canvas(50).any()
    browser.run("location.hash = '#photo-30'")  # a link to a photo opens its page
    assert browser.until(lambda: seen() == [str(i) for i in range(24, 48)])


@pytest.mark.parametrize("text", ["", "dog"])
def test_captions_without_a_second_word(browser: Browser, make_caption: MakeCaption, text: str) -> None:
    caption = replace(make_caption(text), others=(Alternative("a dog", -1),))
    browser.open(PageEntry(PHOTO, caption, "x", ("a cat",)))
    compare = browser.driver.find_element(By.CSS_SELECTOR, ".tools button")
    assert not compare.is_enabled()
    assert "a cat" in browser.texts(".more li")
    png = browser.run("return picture([...shown][0]).toDataURL('image/png')")
    assert Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))).width > 300
