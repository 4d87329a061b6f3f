from __future__ import annotations

from pathlib import Path

import pytest

from captioner.data.samples import CaptionSample, Subset, repeated_ids, sample_at
from captioner.data.scenes import Scenes


def test_a_subset_has_the_chosen_samples_in_order() -> None:
    scenes = Scenes("val", size=6, image_size=32)
    subset = Subset(scenes, [4, 1])
    assert [subset[i] for i in range(len(subset))] == [scenes[4], scenes[1]]
    assert (subset.photo(0).pixels == scenes.photo(4).pixels).all()
    assert subset.report is None


def test_repeated_ids_have_all_their_positions() -> None:
    assert repeated_ids(["a", "b", "a", "c", "a", "c"]) == {"a": [0, 2, 4], "c": [3, 5]}
    assert repeated_ids(["a", "b"]) == {}


@pytest.mark.parametrize("index", [-1, 2])
def test_indices_do_not_count_from_the_end(index: int) -> None:
    samples = [CaptionSample(name, (), Path(name)) for name in ("a", "b")]
    assert sample_at(samples, 1).id == "b"
    with pytest.raises(IndexError, match=f"index {index} is outside the 2 images"):
        sample_at(samples, index)
