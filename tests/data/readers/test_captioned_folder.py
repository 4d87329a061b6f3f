from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captioner.data.readers.captioned_folder import CaptionedFolder
from captioner.errors import DataError
from tests.data.readers.formats import (
    TRAIN,
    VAL,
    captions_of,
    lines,
    prepared,
)


def test_two_photos_cannot_share_one_text_file(root: Path) -> None:
    kind = prepared(root, "folder")
    Image.new("RGB", (3, 3)).save(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"a\.txt: a\.jpg and a\.png share this name"):
        kind.read(root)
    assert captions_of(kind.read(root, on_bad="skip")) == {"b.jpg": TRAIN["b.jpg"]}


def test_a_folder_may_have_a_folder_for_each_split(root: Path) -> None:
    for split, captions in (("train", TRAIN), ("val", VAL)):
        (root / "mine" / split).mkdir(parents=True)
        for name, texts in captions.items():
            (root / "images" / name).rename(root / "mine" / split / name)
            lines(root, f"mine/{split}/{Path(name).stem}.txt", texts)
    val = CaptionedFolder(root, "validation", images="mine", split_by="folders")
    assert [val[0].id, val[0].captions, len(val)] == ["val/c.jpg", tuple(VAL["c.jpg"]), 1]
    with pytest.raises(DataError, match=r"holds none of the 0 test photos"):
        CaptionedFolder(root, "test", images="mine", split_by="folders")
