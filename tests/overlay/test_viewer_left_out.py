"""Notes of a page that lacks some maps, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from captioner.caption import Caption
from captioner.overlay.colour import colours_of
from captioner.overlay.entries import PageEntry
from tests.overlay.browser import Browser

MakeCaption = Callable[..., Caption]
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def label(browser: Browser, entry: int = 0) -> str:
    script = "return document.querySelectorAll('.stage canvas')[arguments[0]].getAttribute('aria-label')"
    return str(browser.run(script, entry))


def in_sight(browser: Browser, entries: int) -> None:
    """Wait until so many photos are drawn, which a loaded machine does late."""
    assert browser.until(lambda: browser.run("return shown.size >= arguments[0]", entries))


def offered(browser: Browser, select: str) -> list[str]:
    script = """
    const labels = [...document.querySelectorAll('.options label')];
    const select = labels.find((node) => node.textContent.startsWith(arguments[0])).querySelector('select');
    return [...select.options].map((option) => option.textContent);"""
    return list(browser.run(script, select))


def test_a_mean_of_heads_is_called_so_where_single_heads_were_left_out(
    browser: Browser, make_caption: MakeCaption
) -> None:
    caption = make_caption("a dog runs", grid=(16, 16), layers=6, heads=16)
    browser.open(PageEntry(PHOTO, caption, "x"))
    in_sight(browser, 1)
    assert offered(browser, "Head") == ["Mean of its heads"]
    said = "Single heads were left out to keep the page small."
    assert browser.text(".options .note") == said
    assert said not in browser.text(".bar")  # the mean over all layers lacks nothing
    browser.set("Layer", 2)
    mean = caption.maps[1, 1].mean(axis=0)
    assert "Attention, layer 2, mean of its heads: share on one of 16 × 16 cells" in browser.text(".bar")
    assert said in browser.text(".bar")
    assert label(browser).startswith("Attention, layer 2, mean of its heads of “dog”: ")
    assert label(browser).endswith(said)
    shown = browser.canvas()
    levels = caption.geometry.to_original(mean, size=shown.shape[:2])
    top = max(float(of_word[1].mean(axis=0).max()) for of_word in caption.maps)
    expected = colours_of(levels / top, signed=False).astype(int)
    assert (np.abs(shown[..., :3].astype(int) - expected) <= 10).mean() > 0.98


def test_a_head_that_one_photo_lacks_is_not_named_there(browser: Browser, make_caption: MakeCaption) -> None:
    whole = make_caption("a dog runs", layers=6, heads=16)
    lacking = make_caption("a cat sits", grid=(16, 16), layers=6, heads=16)
    browser.open(PageEntry(PHOTO, whole, "x"), PageEntry(PHOTO, lacking, "y"))
    in_sight(browser, 1)
    assert browser.text(".options .note").startswith("Of some photos single heads were left out")
    browser.set("Layer", 2)
    browser.set("Head", 5)
    assert label(browser, 0).startswith("Attention, layer 2, head 5 of “dog”: ")
    assert "left out" not in label(browser, 0)
    browser.run("document.querySelectorAll('section')[1].scrollIntoView()")
    browser.until(lambda: len(browser.words(1)) == 3)
    browser.words(1)[1].click()
    assert label(browser, 1).startswith("Attention, layer 2, mean of its heads of “cat”: ")
    assert "Single heads were left out" in label(browser, 1)


def test_a_grid_that_became_coarser_is_told(browser: Browser, make_caption: MakeCaption) -> None:
    caption = make_caption("a dog runs", grid=(200, 200), layers=1, heads=1)
    browser.open(PageEntry(PHOTO, caption, "x"))
    in_sight(browser, 1)
    told = browser.text(".bar")
    sides = told.split("Drawn on ")[1].split(" cells")[0].split(" × ")
    assert int(sides[0]) < 200
    assert f"Drawn on {sides[0]} × {sides[1]} cells of 200 × 200, to keep the page small." in told
    assert f"share on one of {sides[0]} × {sides[1]} cells" in told


def test_a_first_photo_without_words_takes_no_choice_from_the_others(
    browser: Browser, make_caption: MakeCaption
) -> None:
    browser.open(PageEntry(PHOTO, make_caption(""), "x"), PageEntry(PHOTO, make_caption("a dog"), "y"))
    assert offered(browser, "Layer") == ["All", "1", "2"]
    assert offered(browser, "Head") == ["Mean of its heads", "1", "2", "3"]
    browser.run("document.querySelectorAll('section')[1].scrollIntoView()")
    browser.until(lambda: len(browser.words(1)) == 2)
    browser.set("Layer", 2)
    browser.set("Head", 3)
    browser.words(1)[1].click()
    assert label(browser, 1).startswith("Attention, layer 2, head 3 of “dog”: ")
