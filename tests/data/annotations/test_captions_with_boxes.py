"""Captions with boxes of COCO and Flickr30k."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.data.annotations.token_regions import CaptionWithBoxes, TokenRegions
from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.flickr30k import Flickr30k
from captioner.errors import DataError, UsageError
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer
from tests.data.annotations.photos_with_boxes import CAPTIONS, DOG, PEOPLE, SIZE, write_coco, write_flickr30k


def coco(root: Path) -> CocoCaptions:
    write_coco(root)
    return CocoCaptions(root, "all")


def flickr30k(root: Path) -> Flickr30k:
    write_flickr30k(root)
    return Flickr30k(root, "train")


def named(captions: tuple[CaptionWithBoxes, ...]) -> list[dict[str, tuple[object, ...]]]:
    return [
        {f"{at} {caption.text.split()[at]}": boxes for at, boxes in caption.boxes.items()}
        for caption in captions
    ]


def test_cocos_nouns_have_the_boxes_of_their_category(tmp_path: Path) -> None:
    dataset = coco(tmp_path)
    # "hot dog stand" names no dog; the second dog is the man's.
    assert named(dataset.captions_with_boxes(0)) == [
        {"2 men": PEOPLE, "5 dog": (DOG,)},
        {"5 man's": PEOPLE, "6 dog": (DOG,)},
    ]
    assert {caption.size for caption in dataset.captions_with_boxes(0)} == {SIZE}
    assert dataset.captions_with_boxes(1) == ()


def test_flickr30ks_phrases_have_the_boxes_of_their_chain(tmp_path: Path) -> None:
    dataset = flickr30k(tmp_path)
    # Chain 0 is not visible, and chain 3 has no box.
    assert named(dataset.captions_with_boxes(0)) == [{"2 men": PEOPLE, "5 dog": (DOG,)}, {"6 dog": (DOG,)}]
    assert {caption.size for caption in dataset.captions_with_boxes(0)} == {SIZE}
    assert dataset.captions_with_boxes(1) == ()


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("read", [coco, flickr30k])
def test_words_are_those_of_the_tokenizer(
    tmp_path: Path, read: Callable[[Path], CocoCaptions | Flickr30k], kind: str, lowercase: bool
) -> None:
    dataset = read(tmp_path)
    made = Tokenizer.train(
        CAPTIONS,
        kind=kind,  # type: ignore[arg-type]
        vocab_size=None if kind == "word" else 280,
        lowercase=lowercase,
    )
    transform = ImageTransform(SIZE, fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    find = TokenRegions(dataset, tokenizer=made, transform=transform, grid=(2, 4), cells=None)
    ids = [[*made.encode(caption), made.eos_id] for caption in CAPTIONS]
    longest = max(map(len, ids))
    found = find(
        torch.tensor([0]), torch.tensor([[[*row, *[made.pad_id] * (longest - len(row))] for row in ids]])
    )
    dog = torch.tensor([0, 0, 0.8, 0.64, 0, 0, 0.8, 0.64])
    for c, row in enumerate(ids):
        first, *_, last = made.words(row)
        assert last.text == "dog"
        torch.testing.assert_close(found[0, c, last.start : last.end], dog.expand(last.end - last.start, -1))
        assert not found[0, c, : first.end].any()
        assert not found[0, c, last.end :].any()


def test_a_pickled_dataset_contains_no_boxes(tmp_path: Path) -> None:
    dataset = coco(tmp_path)
    before = pickle.dumps(dataset)
    expected = dataset.captions_with_boxes(0)
    assert pickle.dumps(dataset) == before
    assert pickle.loads(before).captions_with_boxes(0) == expected


def test_boxes_in_other_files_can_be_named(tmp_path: Path) -> None:
    for name in ("coco", "flickr30k"):
        (tmp_path / name).mkdir()
    write_coco(tmp_path / "coco", instances="boxes.json")
    write_flickr30k(tmp_path / "flickr30k", entities="boxes")
    assert CocoCaptions(tmp_path / "coco", "all", instances="boxes.json").captions_with_boxes(0)
    assert Flickr30k(tmp_path / "flickr30k", "train", entities="boxes").captions_with_boxes(0)
    with pytest.raises(UsageError, match=r"instances\.json.*data\.instances"):
        CocoCaptions(tmp_path / "coco", "all").captions_with_boxes(0)
    with pytest.raises(UsageError, match=r"Annotations.*data\.entities"):
        Flickr30k(tmp_path / "flickr30k", "train").captions_with_boxes(0)


def test_boxes_outside_the_root_are_read_where_that_is_allowed(tmp_path: Path) -> None:
    for name in ("coco", "flickr30k"):
        (tmp_path / name).mkdir()
    write_coco(tmp_path / "coco")
    write_flickr30k(tmp_path / "flickr30k", entities="boxes")
    shutil.move(tmp_path / "coco" / "instances.json", tmp_path / "instances.json")
    shutil.move(tmp_path / "flickr30k" / "boxes", tmp_path / "boxes")
    boxes: dict[str, Any] = {"instances": "../instances.json"}
    folder: dict[str, Any] = {"entities": "../boxes"}
    with pytest.raises(
        DataError, match=r"boxes of COCO's objects: .*instances\.json.* lies outside data\.root"
    ):
        pickle.loads(pickle.dumps(CocoCaptions(tmp_path / "coco", "all", **boxes))).captions_with_boxes(0)
    with pytest.raises(DataError, match=r"boxes of Flickr30k Entities: .*boxes.* lies outside data\.root"):
        Flickr30k(tmp_path / "flickr30k", "train", **folder).captions_with_boxes(0)
    assert CocoCaptions(tmp_path / "coco", "all", allow_outside=True, **boxes).captions_with_boxes(0)
    assert Flickr30k(tmp_path / "flickr30k", "train", allow_outside=True, **folder).captions_with_boxes(0)
