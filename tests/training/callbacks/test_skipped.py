"""Unreadable photos: skipped and reported one by one, up to a limit for each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.errors import DataError, ImageError, UsageError
from captioner.training.fit import fit
from tests.conftest import TINY, compose

FLICKR = tuple(s for s in TINY if not s.startswith(("data.train.size", "data.val.size", "data.image_size")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Flickr8k of noise: 20 training and 5 validation photos."""
    folder = tmp_path / "flickr8k"
    (folder / "images").mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(25)]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / name)
    (folder / "Flickr8k.token.txt").write_text(
        "".join(
            f"{name}#{k}\t{word} dog number {i}\n"
            for i, name in enumerate(names)
            for k, word in enumerate("abc")
        )
    )
    (folder / "Flickr_8k.trainImages.txt").write_text("\n".join(names[:20]))
    (folder / "Flickr_8k.devImages.txt").write_text("\n".join(names[20:]))
    return folder


def run(root: Path, output: Path, *overrides: str) -> dict[str, torch.Tensor]:
    settings = ("data=flickr8k", f"data.root={root}", *FLICKR, "encoder=tiny", "encoder.image_size=[32,32]")
    fit(compose("train", *settings, "trainer.max_epochs=2", f"output_dir={output}", *overrides))
    weights: dict[str, torch.Tensor] = torch.load(output / "last.ckpt", weights_only=True)["state_dict"]
    return weights


def damage(root: Path, *numbers: int) -> None:
    for number in numbers:
        (root / "images" / f"{number}.jpg").write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize("cache", ["none", "features"])
def test_bad_photos_are_skipped_named_and_counted(
    root: Path, tmp_path: Path, cache: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(root, 7, 22)
    own = ("encoder.trainable=none", f"cache={cache}") + (
        (f"cache.folder={tmp_path / 'features'}",) if cache == "features" else ()
    )
    own += ("data.on_bad=skip", "samples=5", "data.batch_size=7", "optim.warmup=0", "optim.final_lr=1")
    whole = run(root, tmp_path / "whole", *own)
    output = capfd.readouterr().err
    for number in (7, 22):
        assert output.count(f"skipped: {root / 'images'}/{number}.jpg is") == 1
    assert "2 photos were skipped" in output
    # Order and number of batches are unchanged, so that a resume is exact.
    run(root, tmp_path / "cut", *own, "trainer.max_epochs=1")
    resumed = run(root, tmp_path / "cut", *own, f"resume={tmp_path / 'cut'}")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_bad_photo_stops_training_by_default(root: Path, tmp_path: Path) -> None:
    damage(root, 7)
    with pytest.raises(ImageError, match=r"7\.jpg"):
        run(root, tmp_path / "run")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((3, 4, 5), "3 of 20 training photos"), ((22, 23, 24), "3 of 5 validation photos")],
)
def test_many_bad_photos_of_a_split_stop_training(
    root: Path, tmp_path: Path, numbers: tuple[int, ...], message: str
) -> None:
    damage(root, *numbers)
    with pytest.raises(DataError, match=message):
        run(root, tmp_path / "run", "data.on_bad=skip")


def test_bad_validation_photos_do_not_count_as_training_photos(root: Path, tmp_path: Path) -> None:
    """3 bad photos are above 10 % of 20 training photos, and below 10 % of 40 validation photos."""
    names = [f"{number}.jpg" for number in range(25, 60)]
    for name in names:
        (root / "images" / name).write_bytes((root / "images" / "20.jpg").read_bytes())
    with (root / "Flickr8k.token.txt").open("a") as file:
        file.writelines(f"{name}#0\ta dog number {name[:-4]}\n" for name in names)
    with (root / "Flickr_8k.devImages.txt").open("a") as file:
        file.write("\n" + "\n".join(names))
    damage(root, 30, 40, 50)
    run(root, tmp_path / "run", "data.on_bad=skip", "trainer.max_epochs=1", "validate_captions=2")


def test_an_unknown_on_bad_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.on_bad=ignore .*stop or skip"):
        run(root, tmp_path / "run", "data.on_bad=ignore")
