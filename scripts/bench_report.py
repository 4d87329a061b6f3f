"""Peak memory and size of an HTML page of captions for a thousand photos.

    python scripts/bench_report.py [--photos 1000] [--browser]

Writes a page of generated 960 x 720 photos with captions of 12 words, maps of 3 layers of 8 heads on 7 x 7 cells and
one further method, and prints the peak memory of the process, the size of the file, and the size without the photos.
With --browser it opens the page in headless Chromium and times some interactions.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captioner.caption import Alternative, Caption, Explanation, Word
from captioner.image.geometry import ImageGeometry
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page

WORDS = ["a", "brown", "dog", "and", "two", "small", "children", "run", "over", "the", "wet", "grass"]
SIZE, GRID = (720, 960), (7, 7)


def entry(number: int) -> PageEntry:
    """A generated photo and a caption with maps."""
    rng = np.random.default_rng(number)
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]] / 40
    waves = np.stack([np.sin(rows * a + cols * b) for a, b in rng.normal(size=(3, 2))], axis=-1)
    noise = rng.integers(0, 24, (*SIZE, 3))  # noise makes the JPEG about 90 KB, as of a photo
    photo = (116 + 100 * waves + noise).clip(0, 255).astype(np.uint8)
    maps = rng.dirichlet(np.full(49, 0.3), (len(WORDS), 3, 8)).astype(np.float32).reshape(-1, 3, 8, *GRID)
    others = tuple(
        Alternative(text, -float(i) - 0.5) for i, text in enumerate(("dog", "cat", "man", "boy", ""))
    )
    words = tuple(
        Word(text, -0.5, 0.95, own.mean(axis=(0, 1)), others) for text, own in zip(WORDS, maps, strict=True)
    )
    geometry = ImageGeometry(SIZE, 1, (0, 120, 720, 840), (224, 224))
    occlusion = rng.normal(size=(len(WORDS), *GRID)).astype(np.float32)
    caption = Caption(
        " ".join(WORDS),
        words,
        -0.5,
        -6.0,
        maps,
        geometry,
        {"occlusion": Explanation(occlusion, "nats")},
        others,
    )
    return PageEntry(photo, caption, f"photos/{number:06d}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--browser", action="store_true", help="also open the page in Chromium")
    options = parser.parse_args()

    def entries() -> Iterator[PageEntry]:
        yield from map(entry, range(options.photos))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        start = time.monotonic()
        write_page(path, entries(), title="Report")
        seconds = time.monotonic() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = path.stat().st_size
        photos = rest = 0
        with path.open(encoding="utf-8") as page:
            for line in page:  # a line holds the picture or the data of one photo
                pictures = sum(map(len, re.findall(r"data:image/jpeg;base64,[^\"]+", line)))
                photos += pictures
                rest += len(line.encode()) - pictures
        write_page(Path(folder) / "one.html", [entry(0)], title="Report")
        one = (Path(folder) / "one.html").read_text(encoding="utf-8")
        alone = len(re.sub(r"data:image/jpeg;base64,[^\"]+", "", one).encode())
        print(f"{options.photos} photos in {seconds:.0f} s; peak memory {peak:.0f} MiB; {size / 1e6:.1f} MB")
        print(
            f"without photos: {alone / 1e3:.0f} KB for one, {rest / options.photos / 1e3:.1f} KB per photo for all"
        )
        if options.browser:
            time_browser(path)


def time_browser(path: Path) -> None:
    """Open the page, select a word and a layer, go to the next page, and print the time of each."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    for flag in ("headless", "no-sandbox", "disable-gpu", "force-prefers-reduced-motion"):
        options.add_argument(f"--{flag}")
    # The driver on the path; otherwise selenium would download one.
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        start = time.monotonic()
        driver.get(path.as_uri())
        print(f"opened in {time.monotonic() - start:.1f} s", end="")
        script = """
        const begin = performance.now();
        {}
        return performance.now() - begin;"""
        steps = {
            "a word": "document.querySelectorAll('.word')[5].click();",
            "all heads' scale": "const s = document.querySelectorAll('.options select')[1]; s.value = '1';"
            "s.dispatchEvent(new Event('change'));",
            "the next page": "document.querySelectorAll('.pager button')[1].click(); document.body.offsetHeight;",
        }
        for name, step in steps.items():
            print(f"; {name} {driver.execute_script(script.format(step)):.0f} ms", end="")
        heap = driver.execute_script("return performance.memory.usedJSHeapSize") / 2**20
        print(f"; {heap:.0f} MiB of JavaScript memory")
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
