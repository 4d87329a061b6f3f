from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioner.caption import Alternative, Caption, Explanation
from captioner.errors import UsageError
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page
from captioner.overlay.viewer.assets import SCRIPTS, asset, script_json

MakeCaption = Callable[..., Caption]

PHOTO = np.zeros((60, 80, 3), np.uint8)
METHODS = ("attention", "rollout", "gradient_attention", "grad_cam", "integrated_gradients", "occlusion")
EVIL = "</script><img src=x onerror=alert(1)><!--"


def test_captions_can_be_read_without_scripts(make_caption: MakeCaption, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    entries = [
        PageEntry(PHOTO, make_caption("a dog & a cat"), "one.jpg"),
        PageEntry(PHOTO, make_caption(), "two.jpg"),
    ]
    assert write_page(path, entries, title="My photos") == 2
    page = path.read_text(encoding="utf-8")
    assert '<p class="sentence" dir="auto">a dog &amp; a cat</p>' in page
    assert 'alt="a dog runs" src="data:image/jpeg' in page
    assert page.count("<h1>My photos</h1>") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_page_names_no_address_and_loads_nothing(make_caption: MakeCaption, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, [PageEntry(PHOTO, make_caption(), "x")], title="x")
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:https?:)?//[a-z]", page.split("<script>")[0])
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert not re.findall(r"<link|@import|url\(|<iframe|innerHTML|insertAdjacent|eval\(", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy[1]


def test_no_text_can_leave_its_place(make_caption: MakeCaption, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    caption = make_caption(EVIL)
    write_page(path, [PageEntry(PHOTO, caption, EVIL + '" onload="x', (EVIL,))], title=EVIL)
    page = path.read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("</script>") == page.count("<script") == 3
    assert '" onload=' not in page


def test_script_json_cannot_end_its_tag() -> None:
    assert not set("<>&\u2028") & set(script_json({EVIL: EVIL + "\u2028&"}))


@pytest.mark.parametrize("name", [*(f"{part}.js" for part in SCRIPTS), "viewer.css"])
def test_assets_cannot_end_their_tag(name: str) -> None:
    assert not re.search(r"</(script|style)|<!--", asset(name), re.IGNORECASE)


def test_entries_are_written_one_by_one(make_caption: MakeCaption, tmp_path: Path) -> None:
    caption = make_caption()
    alive: list[weakref.ref[PageEntry]] = []
    most = 0

    class Watched(np.ndarray):
        pass

    def entries() -> Iterator[PageEntry]:
        nonlocal most
        for number in range(30):
            photo = PHOTO.view(Watched)
            alive.append(weakref.ref(photo))  # type: ignore[arg-type]
            yield PageEntry(photo, caption, str(number))
            del photo
            most = max(most, sum(entry() is not None for entry in alive))

    assert write_page(tmp_path / "page.html", entries(), title="x") == 30
    assert most <= 2


def test_a_failure_leaves_the_old_page_and_no_rubbish(make_caption: MakeCaption, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def entries() -> Iterator[PageEntry]:
        yield PageEntry(PHOTO, make_caption(), "x")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_page(path, entries(), title="x")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone.*No such file or directory"):
        write_page(tmp_path / "gone" / "page.html", [], title="x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write the page"):
        write_page(tmp_path / "folder", [], title="x")


def test_names_that_are_no_text_are_written(make_caption: MakeCaption, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_page(path, [PageEntry(PHOTO, make_caption(), name)], title="x")
    assert "caf?.jpg</h2>" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [14, 29])
@pytest.mark.parametrize(
    ("grid", "layers", "heads"), [((7, 7), 3, 8), ((14, 14), 12, 12), ((37, 37), 6, 8), ((90, 20), 1, 1)]
)
def test_a_page_of_one_photo_has_little_beside_it(
    make_caption: MakeCaption, tmp_path: Path, words: int, grid: tuple[int, int], layers: int, heads: int
) -> None:
    """Whatever the grid, however many heads and methods: under 150 KB beside the photo."""
    text = " ".join(f"word{i}" for i in range(words))
    caption = make_caption(text, grid=grid, layers=layers, heads=heads)
    one = np.stack([word.map for word in caption.words])
    also = tuple(Alternative(f"word{i}", -0.1234 * i) for i in range(5))
    caption = replace(
        caption,
        words=tuple(replace(word, alternatives=also) for word in caption.words),
        others=tuple(Alternative(text, -i) for i in range(4)),
        explanations={
            name: Explanation(one - one.mean() * (name == "occlusion"), "nats")
            for name in (*METHODS, "attention:max")
        },
    )
    write_page(tmp_path / "page.html", [PageEntry(PHOTO, caption, "x", (text,) * 5)], title="x")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(re.sub(r"data:image/jpeg;base64,[^\"]+", "", page).encode()) < 150_000
