from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from captioner.data.open import open_split
from captioner.data.scenes import Scenes
from captioner.errors import ModelFileError, UsageError

SCENES = "captioner.data.scenes.dataset.Scenes"
DATA = OmegaConf.create(
    {
        "side": 48,
        "train": {"_target_": SCENES, "split": "train", "size": 3, "image_size": "${side}"},
        "odd": {"_target_": SCENES, "split": "weekday"},
        "bad": {"_target_": "os.system", "command": "true"},
        "batch_size": 2,
        "options": {"a": 1},
    }
)


def test_a_split_is_opened_as_configured() -> None:
    dataset = open_split(DATA, "train")
    assert isinstance(dataset, Scenes)
    assert (len(dataset), dataset.image_size) == (3, 48)


@pytest.mark.parametrize("split", ["test", "batch_size", "options", "_target_"])
def test_an_unknown_split_is_refused_with_the_known_ones(split: str) -> None:
    with pytest.raises(UsageError, match=f"split={split} .*train, odd, bad"):
        open_split(DATA, split)


def test_errors_of_the_dataset_are_passed_on() -> None:
    with pytest.raises(UsageError, match=r"'weekday'.*train, val, test"):
        open_split(DATA, "odd")
    with pytest.raises(ModelFileError, match=r"os\.system.* dataset"):
        open_split(DATA, "bad")


def test_a_misspelt_split_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"split=tarin .+did you mean train"):
        open_split(DATA, "tarin")
    with pytest.raises(UsageError, match=r"split is 'tets'.+did you mean test"):
        Scenes("tets")
