from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from captioner.errors import UsageError
from captioner.image.find import NOT_PHOTOS, find_photos


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "10.jpg",
        "2.JPG",
        "b.png",
        "A.webp",
        "notes.md",
        ".hidden.jpg",
        ".cache/x.jpg",
        "day 2/1.jpg",
        "day 10/1.jpg",
        "odd[1].jpg",
        "odd1.jpg",
        "folder.jpg/in.gif",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to("photos").as_posix() for path in paths]


def test_a_folder_is_walked_in_natural_order(tree: Path) -> None:
    assert names(find_photos("photos")) == [
        "2.JPG",
        "10.jpg",
        "A.webp",
        "b.png",
        "odd1.jpg",
        "odd[1].jpg",
        "day 2/1.jpg",
        "day 10/1.jpg",
        "folder.jpg/in.gif",
    ]


def test_patterns(tree: Path) -> None:
    assert names(find_photos("photos/*.jpg")) == ["10.jpg", "odd1.jpg", "odd[1].jpg"]
    assert names(find_photos("photos/**/1.jpg")) == ["day 2/1.jpg", "day 10/1.jpg"]
    assert names(find_photos("photos/?.png")) == ["b.png"]


def test_an_existing_name_is_not_a_pattern(tree: Path) -> None:
    assert names(find_photos("photos/odd[1].jpg")) == ["odd[1].jpg"]
    (tree / "odd[1].jpg").unlink()
    assert names(find_photos("photos/odd[1].jpg")) == ["odd1.jpg"]
    (tree / "trip[1]").mkdir()
    (tree / "trip[1]" / "a.jpg").touch()
    assert names(find_photos("photos/trip[1]/*.jpg")) == ["trip[1]/a.jpg"]


def test_a_list_file_keeps_its_order_and_its_missing_photos(tree: Path) -> None:
    listing = tree / "list.txt"
    listing.write_bytes("\ufeff# chosen\r\n10.jpg\r\n\r\n  gone[2].jpg \r\nday 2\r\n?.png\r\n".encode())
    assert names(find_photos("photos/list.txt")) == ["10.jpg", "gone[2].jpg", "day 2/1.jpg", "b.png"]
    listing.write_text(str((tree / "b.png").absolute()))
    assert find_photos("photos/list.txt") == [(tree / "b.png").absolute()]


def test_standard_input_is_relative_to_the_current_folder(tree: Path) -> None:
    stdin = io.StringIO("photos/b.png\nphotos/gone.jpg\n")
    assert find_photos("-", stdin=stdin) == [Path("photos/b.png"), Path("photos/gone.jpg")]


def test_several_entries_keep_their_order(tree: Path) -> None:
    assert names(find_photos(["photos/b.png", "photos/day 10", "photos/b.png"])) == [
        "b.png",
        "day 10/1.jpg",
        "b.png",
    ]


def test_a_photo_named_is_taken_whatever_its_suffix(tree: Path) -> None:
    assert names(find_photos("photos/notes.md")) == ["notes.md"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            "gone.jpg",
            "there is no photo, folder or list 'gone.jpg'; check the spelling and the current folder",
        ),
        ("my photo.jpg", "there is no photo.*quote names with spaces.*'images=\"my photo.jpg\"'"),
        ("gone[1].jpg", r"there is no photo that matches 'gone\[1\].jpg'.*quote"),
        ("photos/*.tiff", "there is no photo that matches"),
        ("empty", "the folder empty contains no photo .*.jpeg"),
        ("empty.txt", "empty.txt names no photo; write one path a line"),
        ("latin.txt", "cannot read the list latin.txt.*it must be UTF-8"),
        ("", "images= is empty"),
        ([], "images= is empty"),
        (["photos", " "], "images= is empty"),
        ("-", "images=- reads standard input"),
        (["photos/b.png", "gone.jpg"], "there is no photo, folder or list 'gone.jpg'"),
    ],
)
def test_missing_photos_are_a_usage_error(tree: Path, images: str | list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("empty.txt").write_text("# nothing\n\n")
    Path("latin.txt").write_bytes("é.jpg".encode("latin-1"))
    with pytest.raises(UsageError, match=message):
        find_photos(images)


def test_loops_of_links_end(tree: Path) -> None:
    os.symlink("..", tree / "day 2" / "up")
    assert len(find_photos("photos")) == 9


def test_pictures_that_we_made_are_no_photos(tmp_path: Path) -> None:
    """Neither below a folder nor by a pattern; but who names their folder means them."""
    made = tmp_path / "captions" / "overlays"
    (made / "1-a").mkdir(parents=True)
    for path in (tmp_path / "a.png", made / "1-a.png", made / "1-a" / "01-dog.png"):
        path.touch()
    (made / NOT_PHOTOS).touch()
    assert find_photos(str(tmp_path)) == [tmp_path / "a.png"]
    assert find_photos(f"{tmp_path}/**/*.png") == [tmp_path / "a.png"]
    assert find_photos(str(made)) == [made / "1-a.png", made / "1-a" / "01-dog.png"]
    assert find_photos(f"{made}/*.png") == [made / "1-a.png"]
