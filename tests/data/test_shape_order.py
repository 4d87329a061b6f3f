"""Batches of one shape, with every photo once, for any number of processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.data.samples import CaptionSample
from captioner.data.shape_order import ShapeOrder
from captioner.data.torch_dataset import input_sizes
from captioner.image.decode import Photo, photo_size, read_photo
from captioner.image.transforms import ImageTransform

SHAPES = st.lists(st.sampled_from([(2, 3), (3, 2), (4, 4)]), min_size=1, max_size=40)
GREY = (0.5, 0.5, 0.5)


@given(shapes=SHAPES, batch_size=st.integers(1, 5), world=st.integers(1, 3), shuffle=st.booleans())
def test_every_photo_is_seen_in_a_batch_of_its_shape(
    shapes: list[tuple[int, int]], batch_size: int, world: int, shuffle: bool
) -> None:
    counted: Counter[int] = Counter()
    seen: set[int] = set()
    lengths = set()
    for rank in range(world):
        order = ShapeOrder(shapes, batch_size, shuffle=shuffle, rank=rank, world_size=world)
        batches = list(order.batches(3))
        lengths.add(len(batches))
        assert len(batches) == len(order)
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            assert len({shapes[draw.index] for draw in batch}) == 1
            assert {draw.epoch for draw in batch} == {3}
            seen.update(draw.index for draw in batch)
            counted.update(draw.index for draw in batch if draw.counts)
        assert list(order.batches(3, skip=2)) == batches[2:]
        assert list(order.batches(3)) == batches
    assert len(lengths) == 1, "no process waits for another"
    assert seen == set(range(len(shapes)))
    if not shuffle:
        assert counted == Counter(range(len(shapes))), "a score counts each photo once"


def test_epochs_differ_and_small_batches_lie_anywhere() -> None:
    shapes = [(2, 3)] * 60 + [(3, 2)]
    order = ShapeOrder(shapes, 4)
    rare = set()
    for epoch in range(20):
        batches = [[draw.index for draw in batch] for batch in order.batches(epoch)]
        rare.add(batches.index([60]))
    assert len(rare) > 5
    assert list(order.batches(0)) != list(order.batches(1))


class Folder:
    """Photos of several kinds and shapes."""

    def __init__(self, folder: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        self.paths = []
        for name, size, options in (
            ("a.jpg", (60, 40), {}),
            ("turned.jpg", (60, 40), {"exif": exif}),
            ("turned.png", (60, 40), {"exif": exif}),
            ("wide.webp", (90, 30), {}),
            ("p.gif", (40, 40), {}),
        ):
            self.paths.append(folder / name)
            noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(noise).save(self.paths[-1], **options)  # type: ignore[arg-type]
        self.paths.append(folder / "bad.jpg")
        self.paths[-1].write_bytes(b"<html>")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(str(index), ("a dog",), self.paths[index])

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        return read_photo(self.paths[index], min_size=min_size)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_sizes_need_no_decoding(folder: Folder) -> None:
    for path in folder.paths[:-1]:
        assert photo_size(path) == read_photo(path).size
    cut = folder.paths[0].with_name("cut.jpg")
    cut.write_bytes(folder.paths[0].read_bytes()[:900])
    assert photo_size(cut) == (40, 60), "the header is whole"


def test_inputs_have_the_stated_sizes(folder: Folder) -> None:
    native = ImageTransform((32, 32), fit="native", mean=GREY, std=GREY, step=(8, 8))
    told = input_sizes(folder, native, range(len(folder)))
    for index, size in enumerate(told[:-1]):
        assert native(folder.photo(index))[0].shape[1:] == size
    assert len(set(told)) == 4
    assert told[-1] == (32, 32), "what cannot be read counts as a photo of the input's own size"
    squash = ImageTransform((32, 32), fit="squash", mean=GREY, std=GREY)
    assert set(input_sizes(folder, squash, range(len(folder)))) == {(32, 32)}
