from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captioner.data.readers.coco import CocoCaptions
from captioner.errors import UsageError
from tests.data.readers.formats import (
    TRAIN,
    VAL,
    captions_of,
    write_coco,
)


def test_the_year_of_coco_can_be_chosen(root: Path) -> None:
    write_coco(root, TRAIN, VAL)
    for year in (2014, 2017):
        (root / "images" / f"val{year}").mkdir(parents=True)
        Image.new("RGB", (year - 2000, 3)).save(root / "images" / f"val{year}" / "c.jpg")
    source = root / "annotations" / "captions_val2017.json"
    (root / "annotations" / "captions_val2014.json").write_bytes(source.read_bytes())
    assert [CocoCaptions(root, "val", year=year).photo(0).size for year in (None, 2014)] == [(3, 17), (3, 14)]
    with pytest.raises(UsageError, match="year=2015 is not a year of COCO"):
        CocoCaptions(root, "val", year=2015)


def test_a_single_coco_file_can_be_split(root: Path) -> None:
    captions = {f"{number}.jpg": [f"number {number}"] for number in range(40)}
    for name in captions:
        (root / "images" / name).touch()
    write_coco(root, captions, {})
    (root / "annotations" / "captions_train2017.json").rename(root / "captions.json")
    parts = [CocoCaptions(root, split, split_by="hash") for split in ("train", "val", "test")]
    assert sorted(name for part in parts for name in captions_of(part)) == sorted(captions)
    assert {int(part[0].id) for part in parts} <= set(range(1, 41))  # COCO's own ids, in every part
