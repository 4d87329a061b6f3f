"""How does a dataset become training and validation batches? `CaptionDataModule`, one for every reader."""

from __future__ import annotations

import functools
from typing import Any, get_args

import lightning
import torch

from captioner.data.batch import CaptionBatch, collate
from captioner.data.draws import Encoded, OnBad, Photos
from captioner.data.feature_cache import FeatureCache, StoredFeatures
from captioner.data.feature_writer import write_features
from captioner.data.loader import EpochOrder, ResumableLoader
from captioner.data.samples import CaptionDataset
from captioner.errors import DataError, UsageError
from captioner.image.augment import TrainingAugment
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer


class CaptionDataModule(lightning.LightningDataModule):
    """Batches of images with all their captions.

    Args:
        train: Training images and captions.
        val: Validation images and captions.
        tokenizer: Built from the training captions.
        transform: Brings a photo to the pixels the encoder takes.
        augment: What training images go through instead of `transform`; None for nothing more.
        batch_size: Images per batch and process.
        captions_per_image: How many of an image's captions a training batch holds, drawn anew in each epoch; None
            for all. Validation always takes all.
        max_tokens: Longer captions are cut to this many tokens, BOS and EOS counted.
        seed: Decides order and augmentation.
        num_workers: Reading processes; 0 reads in the training process.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.
        cache: Where the encoder's features are stored and read instead of photos; None reads photos.
        name: The data's name, for the folders of `cache`.

    Raises:
        DataError: If a split is empty.
        UsageError: If a number is out of range.
    """

    def __init__(
        self,
        train: CaptionDataset,
        val: CaptionDataset,
        *,
        tokenizer: Tokenizer,
        transform: ImageTransform,
        augment: TrainingAugment | None = None,
        batch_size: int = 32,
        captions_per_image: int | None = None,
        max_tokens: int = 40,
        seed: int = 0,
        num_workers: int = 0,
        on_bad: OnBad = "stop",
        cache: FeatureCache | None = None,
        name: str = "data",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UsageError(f"data.batch_size={batch_size} must be at least 1")
        if captions_per_image is not None and captions_per_image < 1:
            raise UsageError(
                f"data.captions_per_image={captions_per_image} must be at least 1, or null for all"
            )
        if max_tokens < 3:
            raise UsageError(
                f"max_tokens={max_tokens} leaves no room for a word between BOS and EOS; "
                "model.decoder.max_length must be at least 3"
            )
        if num_workers < 0:
            raise UsageError(f"data.num_workers={num_workers} must not be negative")
        if on_bad not in get_args(OnBad):
            raise UsageError(f"data.on_bad={on_bad} must be stop or skip")
        for split, dataset in (("training", train), ("validation", val)):
            if len(dataset) == 0:
                raise DataError(f"the {split} split has no images; check data.root and the split lists")
        self.train_set = train
        self.val_set = val
        self.tokenizer = tokenizer
        self.transform = transform
        self.augment = augment
        self.batch_size = batch_size
        self.captions_per_image = captions_per_image
        self.max_tokens = max_tokens
        self.seed = seed
        self.num_workers = num_workers
        self.on_bad: OnBad = on_bad
        self.cache = cache
        self.name = name
        self._stored: dict[str, StoredFeatures] = {}
        self._place = {"epoch": 0, "done": 0}

    def setup(self, stage: str) -> None:
        """Write the features that are not stored yet; every process does its share."""
        if self.cache is None or self._stored:
            return
        assert self.trainer is not None
        first = self.trainer.is_global_zero
        plugin = self.trainer.precision_plugin
        for split, dataset, augment in (
            ("train", self.train_set, self.augment),
            ("val", self.val_set, None),
        ):
            name = f"{self.name}-{split}"
            stored = self.cache.store(
                name,
                dataset,
                transform=self.transform,
                augment=augment,
                precision=str(plugin.precision),
            )
            new = next(stored.missing(), None) is not None
            write_features(
                stored,
                Photos(dataset, self.transform, augment),
                self.cache.encoder,
                device=self.trainer.strategy.root_device,
                precision=plugin.forward_context,
                num_workers=self.num_workers,
                on_bad=self.on_bad,
                show=first,
            )
            if new and first:
                self.cache.tell_others(name, keep=stored.folder)
            self._stored[split] = stored

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented batches; goes on where a loaded checkpoint stood."""
        loader = self._loader("train", self.train_set, self.augment)
        loader.epoch, loader.done = self._place["epoch"], self._place["done"]
        return loader

    def val_dataloader(self) -> ResumableLoader:
        """Validation batches in the dataset's order."""
        return self._loader("val", self.val_set, None)

    def _loader(
        self, split: str, dataset: CaptionDataset, augment: TrainingAugment | None
    ) -> ResumableLoader:
        train = split == "train"
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = EpochOrder(
            len(dataset),
            self.batch_size,
            seed=self.seed,
            shuffle=train,
            drop_last=train,
            rank=rank,
            world_size=world_size,
        )
        special = self.tokenizer
        stored = self._stored.get(split)
        return ResumableLoader(
            Encoded(
                dataset,
                stored or Photos(dataset, self.transform, augment),
                self.tokenizer,
                captions_per_image=self.captions_per_image if train else None,
                max_tokens=self.max_tokens,
                seed=self.seed,
                on_bad=self.on_bad,
            ),
            order,
            collate=functools.partial(
                collate,
                bos_id=special.bos_id,
                eos_id=special.eos_id,
                pad_id=special.pad_id,
                like=stored.like if stored else None,
            ),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def transfer_batch_to_device(
        self, batch: CaptionBatch, device: torch.device, dataloader_idx: int
    ) -> CaptionBatch:
        """Move a batch, images channels last."""
        return batch.to(device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: the epoch, and the batches of it that were used."""
        assert self.trainer is not None
        # Not `completed`: a checkpoint written at a batch's end is written before that batch counts as completed.
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        done = progress.processed
        epoch = self.trainer.current_epoch
        if done >= self.trainer.num_training_batches:
            epoch, done = epoch + 1, 0
        return {"epoch": epoch, "done": done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` stood."""
        self._place = {"epoch": int(state_dict["epoch"]), "done": int(state_dict["done"])}
