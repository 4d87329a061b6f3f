from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.caption import Caption
from captioner.overlay.files import write_files
from captioner.overlay.kinds import FILE_KINDS

MakeCaption = Callable[..., Caption]


def test_every_kind_is_a_file_of_its_kind(make_caption: MakeCaption, tmp_path: Path) -> None:
    photo = np.full((60, 80, 3), 90, np.uint8)
    write_files(tmp_path, "1-a", photo, make_caption("a dog"), kinds=FILE_KINDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1-a", "1-a.gif", "1-a.npz", "1-a.pdf", "1-a.png", "1-a.svg", "1-a.webp"
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "1-a").iterdir()) == ["01-a.png", "02-dog.png"]
    heads = {"gif": b"GIF8", "npz": b"PK", "pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<svg", "webp": b"RIFF"}
    for kind, head in heads.items():
        assert (tmp_path / f"1-a.{kind}").read_bytes().startswith(head)


def test_only_what_is_asked_for_is_written(make_caption: MakeCaption, tmp_path: Path) -> None:
    photo = np.zeros((4, 4, 3), np.uint8)
    write_files(tmp_path, "a", photo, make_caption("dog", size=(4, 4)), kinds=["npz"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_names_that_no_file_may_have(make_caption: MakeCaption, tmp_path: Path) -> None:
    photo = np.zeros((4, 4, 3), np.uint8)
    text = "../x a/b <b> " + "写" * 100 + " ..."
    write_files(tmp_path, "../../" + "é" * 90, photo, make_caption(text, size=(4, 4)), kinds=["words"])
    (folder,) = tmp_path.iterdir()
    assert folder.name == "..-..-" + "é" * 54
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["01-..-x.png", "02-a-b.png", "03--b-.png", f"04-{'写' * 60}.png", "05--.png"]
    write_files(tmp_path, "../../" + "é" * 90, photo, make_caption("dog", size=(4, 4)), kinds=["words"])
    assert [path.name for path in folder.iterdir()] == ["01-dog.png"], "words of an older caption are gone"


def test_a_caption_of_no_words(make_caption: MakeCaption, tmp_path: Path) -> None:
    write_files(tmp_path, "a", np.zeros((1, 1, 3), np.uint8), make_caption("", size=(1, 1)), kinds=FILE_KINDS)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".gif",
        ".npz",
        ".pdf",
        ".png",
        ".svg",
        ".webp",
    ]


def test_large_photos_are_shrunk_once(make_caption: MakeCaption, tmp_path: Path) -> None:
    photo = np.zeros((2000, 3000, 3), np.uint8)
    photo[:, 1500:] = 255
    write_files(tmp_path, "a", photo, make_caption("dog", size=(2000, 3000)), kinds=["words"])
    with Image.open(tmp_path / "a" / "01-dog.png") as picture:
        pixels = np.asarray(picture)
    assert pixels[240, 100].sum() < pixels[240, 600].sum()
    assert picture.size[0] == 720


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_scale_is_given_on(make_caption: MakeCaption, tmp_path: Path, kind: str) -> None:
    photo = np.zeros((6, 8, 3), np.uint8)
    for scale in ("caption", "word"):
        write_files(tmp_path, scale, photo, make_caption(size=(6, 8)), kinds=[kind], scale=scale)
    assert (tmp_path / f"caption.{kind}").read_bytes() != (tmp_path / f"word.{kind}").read_bytes()
