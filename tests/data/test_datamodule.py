from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from captioner.data.batch import CaptionBatch
from captioner.data.datamodule import CaptionDataModule
from captioner.data.samples import CaptionSample
from captioner.errors import DataError, UsageError
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer
from tests.data.pixels import pixels

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GREY = (0.5, 0.5, 0.5)
TRANSFORM = ImageTransform((8, 8), fit="squash", mean=GREY, std=GREY)


class Numbers:
    """Photos of noise; photo i has the captions "i once", "i twice", …"""

    def __init__(self, size: int, captions: int = 3) -> None:
        self.size = size
        self.captions = captions

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> CaptionSample:
        times = ("once", "twice", "thrice")[: self.captions]
        return CaptionSample(str(index), tuple(f"{WORDS[index]} {word}" for word in times), None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        return read_photo(np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8))


TOKENIZER = Tokenizer.train(caption for i in range(11) for caption in Numbers(11)[i].captions)


def module(train: Any = None, val: Any = None, **settings: Any) -> CaptionDataModule:
    return CaptionDataModule(
        train or Numbers(7),
        val or Numbers(5),
        tokenizer=TOKENIZER,
        transform=TRANSFORM,
        **{"batch_size": 2, **settings},
    )


def words(batch: CaptionBatch) -> list[list[str]]:
    return [[TOKENIZER.decode(ids) for ids in image] for image in batch.tokens.tolist()]


def equal(a: Sequence[CaptionBatch], b: Sequence[CaptionBatch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(pixels(x), pixels(y))
        and torch.equal(x.tokens, y.tokens)
        and torch.equal(x.indices, y.indices)
        for x, y in zip(a, b, strict=True)
    )


def test_a_training_batch_has_each_image_with_all_its_captions() -> None:
    batches = list(module().train_dataloader())
    assert [len(batch.indices) for batch in batches] == [2, 2, 2]  # the seventh is left out
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            expected, _ = TRANSFORM(Numbers(7).photo(index))
            assert torch.equal(pixels(batch)[row], expected)
            assert words(batch)[row] == list(Numbers(7)[index].captions)


def test_validation_keeps_the_order_and_takes_every_image_and_caption() -> None:
    data = module(captions_per_image=1, augment=TrainingAugment(TRANSFORM))
    for _ in range(2):
        batches = list(data.val_dataloader())
        assert [batch.indices.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
        assert words(batches[2]) == [["four once", "four twice", "four thrice"]]
        expected, _ = TRANSFORM(Numbers(5).photo(4))
        assert torch.equal(pixels(batches[2])[0], expected)


def test_captions_are_drawn_anew_in_each_epoch_without_repeats() -> None:
    loader = module(captions_per_image=2).train_dataloader()
    drawn: dict[int, set[str]] = {}
    for _ in range(8):
        for batch in loader:
            for index, captions in zip(batch.indices.tolist(), words(batch), strict=True):
                assert len(set(captions)) == 2
                assert set(captions) <= set(Numbers(7)[index].captions)
                drawn.setdefault(index, set()).update(captions)
    assert all(captions == set(Numbers(7)[index].captions) for index, captions in drawn.items())


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    augment = TrainingAugment(TRANSFORM)
    loader = module(augment=augment, captions_per_image=2, seed=4).train_dataloader()
    first, second = list(loader), list(loader)
    torch.manual_seed(99)
    with_workers = module(
        augment=augment, captions_per_image=2, seed=4, num_workers=2, val=Numbers(3)
    ).train_dataloader()
    assert equal(list(with_workers), first)
    assert equal(list(with_workers), second)
    # Not one augmentation for all epochs, nor for all seeds.
    by_index = {
        int(i): image for batch in first for i, image in zip(batch.indices, pixels(batch), strict=True)
    }
    again = {int(i): image for batch in second for i, image in zip(batch.indices, pixels(batch), strict=True)}
    assert not any(torch.equal(by_index[i], again[i]) for i in by_index.keys() & again.keys())
    other = list(module(augment=augment, captions_per_image=2, seed=5).train_dataloader())
    assert not equal(other, first)


def test_an_image_is_not_flipped_if_a_caption_mentions_a_side() -> None:
    class Sided(Numbers):
        def __getitem__(self, index: int) -> CaptionSample:
            plain = super().__getitem__(index)
            captions = (plain.captions[0] + " left", *plain.captions[1:]) if index == 0 else plain.captions
            return CaptionSample(plain.id, captions, None)

    always = TrainingAugment(TRANSFORM, scale=(1, 1), ratio=(1, 1), jitter=0, flip=1)
    loader = module(train=Sided(2), augment=always, captions_per_image=1).train_dataloader()
    for _ in range(5):  # some epochs sample a caption without sides: all captions count
        (batch,) = list(loader)
        for row, index in enumerate(batch.indices.tolist()):
            plain, _ = TRANSFORM(Numbers(2).photo(index))
            torch.testing.assert_close(pixels(batch)[row], plain if index == 0 else plain.flip(-1))


def test_long_captions_are_truncated_to_max_tokens() -> None:
    class Long(Numbers):
        def __getitem__(self, index: int) -> CaptionSample:
            return CaptionSample(str(index), (" ".join(WORDS), "one"), None)

    (batch,) = list(module(train=Long(2), max_tokens=6).train_dataloader())
    assert batch.tokens.shape == (2, 2, 6)
    assert words(batch)[0] == ["zero one two three", "one"]
    # A truncated caption still ends with EOS.
    assert (batch.tokens[:, 0, -1] == TOKENIZER.eos_id).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0 must be at least 1"),
        ({"captions_per_image": 0}, "data.captions_per_image=0 must be at least 1, or null"),
        ({"cover": 1.5}, "image.cover=1.5 must be from 0 to 1"),
        ({"num_workers": -1}, "data.num_workers=-1 must not be negative"),
        ({"max_tokens": 2}, "max_tokens=2 leaves no room for a word"),
        ({"on_bad": "skpi"}, "data.on_bad=skpi must be stop or skip; did you mean skip?"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        module(**settings)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="the training split has no images"):
        CaptionDataModule(Numbers(0), Numbers(3), tokenizer=TOKENIZER, transform=TRANSFORM)
    with pytest.raises(DataError, match="the validation split has no images"):
        CaptionDataModule(Numbers(3), Numbers(0), tokenizer=TOKENIZER, transform=TRANSFORM)


class Recorder(lightning.LightningModule):
    """Trains nothing; records its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.given: list[CaptionBatch] = []

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> torch.Tensor:
        self.given.append(batch)
        return self.weight * 1.0

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder: Path, *, resume: Path | None = None, **settings: Any) -> list[CaptionBatch]:
    """The batches of a trainer over three epochs, which saves a checkpoint at every step and validation."""
    recorder = Recorder()
    trainer = lightning.Trainer(
        **{"max_epochs": 3, **settings},
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(folder, filename="step{step}", every_n_train_steps=1, save_top_k=-1),
            ModelCheckpoint(folder, filename="validation{step}", save_top_k=-1),
        ],
    )
    data = module(captions_per_image=2, augment=TrainingAugment(TRANSFORM))
    trainer.fit(recorder, datamodule=data, ckpt_path=resume, weights_only=True)
    return recorder.given


def test_every_epoch_has_another_order(tmp_path: Path) -> None:
    given = train(tmp_path)
    loader = module(captions_per_image=2, augment=TrainingAugment(TRANSFORM)).train_dataloader()
    assert equal(given, [batch for _ in range(3) for batch in loader])
    orders = {str([batch.indices.tolist() for batch in given[i : i + 3]]) for i in (0, 3, 6)}
    assert len(orders) == 3


@pytest.mark.filterwarnings("ignore::UserWarning")  # about resuming mid-epoch and changed folders
@pytest.mark.parametrize("checkpoint", ["step1", "step2", "step3", "step4", "step6", "step8", "validation6"])
def test_a_resumed_trainer_gets_the_remaining_batches(tmp_path: Path, checkpoint: str) -> None:
    steps = int(checkpoint[-1])
    whole = train(tmp_path / "whole")
    train(tmp_path / "stopped", max_steps=steps)
    (file,) = (tmp_path / "stopped").glob(f"{checkpoint.replace(str(steps), '')}*={steps}.ckpt")
    rest = train(tmp_path / "rest", resume=file)
    assert equal(rest, whole[steps:])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_interrupted_epoch_is_not_repeated(tmp_path: Path) -> None:
    given = train(tmp_path, limit_train_batches=2)
    loader = module(captions_per_image=2, augment=TrainingAugment(TRANSFORM)).train_dataloader()
    assert equal(given, [batch for _ in range(3) for batch in list(loader)[:2]])


def test_patches_of_training_images_alone_are_covered() -> None:
    whole, covered = (module(cover=chance) for chance in (0.0, 1.0))
    for batch, other in zip(whole.train_dataloader(), covered.train_dataloader(), strict=True):
        assert torch.equal(batch.tokens, other.tokens)
        hidden = pixels(other).eq(0).all(dim=1)
        assert hidden.any()
        assert torch.equal(pixels(batch).movedim(1, -1)[~hidden], pixels(other).movedim(1, -1)[~hidden])
    for batch, other in zip(whole.val_dataloader(), covered.val_dataloader(), strict=True):
        assert torch.equal(pixels(batch), pixels(other))
