from __future__ import annotations

import doctest
import pickle
from typing import Any

import numpy as np
import pytest

import captioner.data.scenes
from captioner.data.samples import CaptionDataset
from captioner.data.scenes import Scenes
from captioner.data.scenes.render import render
from captioner.errors import UsageError


def test_gives_samples_and_photos() -> None:
    data: CaptionDataset = Scenes("val", image_size=40)
    assert len(data) == 500
    sample, photo = data[499], data.photo(499)
    assert sample.id == "scenes-val-0-000499"
    assert len(set(sample.captions)) == 5
    assert sample.path is None
    assert photo.pixels.shape == (40, 40, 3)
    assert (photo.size, photo.orientation, photo.path) == ((40, 40), 1, None)


def test_default_sizes() -> None:
    assert [len(Scenes(split)) for split in ("train", "val", "test")] == [8000, 500, 1000]


def test_a_sample_depends_on_seed_split_and_index_alone() -> None:
    one, larger = Scenes("train", size=10, seed=4), Scenes("train", size=5000, seed=4)
    copied = pickle.loads(pickle.dumps(larger))
    larger[1234], larger.photo(7)  # earlier requests have no effect
    for index in (9, 0, 5):
        assert one[index] == larger[index] == copied[index]
        assert np.array_equal(one.photo(index).pixels, copied.photo(index).pixels)
        assert np.array_equal(one.photo(index).pixels, render(one.scene(index)))
        assert tuple(reference.text for reference in one.references(index)) == one[index].captions


def test_seeds_splits_and_indices_differ() -> None:
    samples = [Scenes(split, seed=seed) for split in ("train", "val", "test") for seed in (0, 1)]
    pictures = {data.photo(index).pixels.tobytes() for data in samples for index in range(20)}
    assert len(pictures) == 6 * 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, r"split is 'dev'; choose one of train, val, test"),
        ({"size": 0}, r"size is 0; give a whole number of at least 1"),
        ({"size": 2.5}, r"size is 2.5; give a whole number"),
        ({"size": True}, r"size is True; give a whole number"),
        ({"image_size": 31}, r"image_size is 31; give a whole number of at least 32"),
        ({"seed": -1}, r"seed is -1; give a whole number of at least 0"),
    ],
)
def test_refuses_other_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Scenes(**({"split": "train"} | arguments))


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_refuses_an_index_outside(index: int) -> None:
    data = Scenes("test", size=3)
    for ask in (data.__getitem__, data.photo, data.scene, data.references):
        with pytest.raises(IndexError, match=f"{index} .*0–2.*test"):
            ask(index)


def test_the_description_is_right() -> None:
    assert doctest.testmod(captioner.data.scenes).failed == 0
    assert doctest.testmod(captioner.data.scenes).attempted > 5
