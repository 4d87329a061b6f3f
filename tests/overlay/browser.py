"""A page in a real browser: Chromium without a window, driven through chromedriver."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page

FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    "disable-component-update disable-sync force-prefers-reduced-motion window-size=1200,900"
)


class Browser:
    """The few things that the tests do with a page."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, *entries: PageEntry, title: str = "Photos") -> None:
        path = self.folder / "page.html"
        write_page(path, entries, title=title)
        self.size(1200, 900)
        self.driver.get(path.as_uri())
        self.run("document.activeElement.blur()")

    def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def words(self, entry: int = 0) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, f"section:nth-of-type({entry + 1}) .word")

    def point_at(self, word: Any) -> None:
        ActionChains(self.driver, duration=0).move_to_element(word).perform()

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)"
        return list(self.run(script, selector))

    def chosen(self) -> list[str]:
        return self.texts(".word[aria-pressed=true] > span:first-child")

    def canvas(self, entry: int = 0) -> NDArray[np.uint8]:
        """The overlay as uint8 `[H, W, 4]`; all zero where none is shown."""
        script = """
        const canvas = document.querySelectorAll('.stage')[arguments[0]].querySelector('canvas');
        if (!canvas.width || !canvas.parentElement.classList.contains('shown')) return [1, 1, '00000000'];
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const hex = Array.from(data, (v) => v.toString(16).padStart(2, '0')).join('');
        return [canvas.height, canvas.width, hex];"""
        rows, cols, data = self.run(script, entry)
        return np.frombuffer(bytes.fromhex(data), np.uint8).reshape(rows, cols, 4)

    def set(self, label: str, value: object) -> None:
        """Change the display option with this label."""
        script = """
        const labels = [...document.querySelectorAll('.options label')];
        const input = labels.find((node) => node.textContent.startsWith(arguments[0])).querySelector('input, select');
        if (input.type === 'checkbox' || input.type === 'radio') return input.click();
        input.value = arguments[1];
        input.dispatchEvent(new Event(input.tagName === 'SELECT' ? 'change' : 'input'));"""
        self.run(script, label, value)

    def click(self, text: str) -> None:
        """Press the first button that says `text`."""
        buttons = self.driver.find_elements(By.TAG_NAME, "button")
        next(button for button in buttons if button.is_displayed() and button.text == text).click()

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for what a loaded machine may do late."""
        end = time.monotonic() + 30
        while not (found := holds()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def complaints(self) -> list[str]:
        messages = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        return [
            text for text in messages if "willReadFrequently" not in text
        ]  # advice to this test, not to the page


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium or chromedriver is not installed: the page is not tried in a browser")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(chromedriver))  # a given path: nothing is downloaded
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: Chrome, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(driver, tmp_path)
    yield browser
    assert browser.complaints() == []
