"""Lightning data module that makes training and validation batches of any dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch

from captioner.data.batch import CaptionBatch, EncodedSample, collate
from captioner.data.features.feature_cache import FeatureCache, StoredFeatures
from captioner.data.features.feature_writer import write_features
from captioner.data.integrity.faults import OnBad, check_on_bad
from captioner.data.loader import EpochOrder, ResumableLoader
from captioner.data.samples import CaptionDataset
from captioner.data.shape_order import ShapeOrder
from captioner.data.shards.shard_dataset import Shards
from captioner.data.shards.shard_stream import ShardOrder, StreamedDataset
from captioner.data.torch_dataset import EncodedDataset, PhotoInputs, input_sizes, training_inputs
from captioner.errors import DataError, UsageError
from captioner.image.augment import TrainingAugment
from captioner.image.transforms import ImageTransform
from captioner.models.image_tokens import ImageTokens
from captioner.text.tokenizer import Tokenizer


class CaptionDataModule(lightning.LightningDataModule):
    """Batches of images with all their captions.

    Args:
        train: Training images and captions.
        val: Validation images and captions.
        tokenizer: Built from the training captions.
        transform: Converts a photo to the encoder's input.
        augment: Replaces `transform` for training images; None for no augmentation.
        cover: Probability (0–1) that patches of a training image are covered; see `captioner.image.cover`.
        batch_size: Images per batch and process.
        captions_per_image: The number of captions per image in a training batch, sampled in each epoch; None for all.
            Validation always takes all.
        max_tokens: Longer captions are truncated to this many tokens, including BOS and EOS.
        seed: Seed of order and augmentation.
        num_workers: Worker processes; 0 loads in the training process.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.
        cache: Stored features of the encoder, read instead of photos; None reads photos.
        name: The data set's name, for the folders of `cache`.
        shuffle_buffer: Size of the shuffle buffer, in samples, for training on shards.

    Raises:
        DataError: If a split is empty.
        UsageError: If a value is out of range, or settings do not fit together.
    """

    def __init__(
        self,
        train: CaptionDataset,
        val: CaptionDataset,
        *,
        tokenizer: Tokenizer,
        transform: ImageTransform,
        augment: TrainingAugment | None = None,
        cover: float = 0.0,
        batch_size: int = 32,
        captions_per_image: int | None = None,
        max_tokens: int = 40,
        seed: int = 0,
        num_workers: int = 0,
        on_bad: OnBad = "stop",
        cache: FeatureCache | None = None,
        name: str = "data",
        shuffle_buffer: int = 1000,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UsageError(f"data.batch_size={batch_size} must be at least 1")
        if not 0 <= cover <= 1:
            raise UsageError(f"image.cover={cover} must be from 0 to 1")
        if cover and cache is not None:
            raise UsageError(
                "image.cover covers pixels, and cache=features stores features of uncovered images; "
                "set image.cover=0 or cache=none"
            )
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
        check_on_bad(on_bad)
        if transform.fit == "native" and isinstance(train, Shards):
            raise UsageError(
                "image.fit=native needs batches of one shape, and data=shards is streamed in its own order; "
                "take image.fit=crop, pad or squash"
            )
        for split, dataset in (("training", train), ("validation", val)):
            if len(dataset) == 0:
                raise DataError(f"the {split} split has no images; check data.root and the split lists")
        self.train_set = train
        self.val_set = val
        self.tokenizer = tokenizer
        self.transform = transform
        self.augment = augment
        self.cover = cover
        self.batch_size = batch_size
        self.captions_per_image = captions_per_image
        self.max_tokens = max_tokens
        self.seed = seed
        self.num_workers = num_workers
        self.on_bad: OnBad = on_bad
        self.cache = cache
        self.name = name
        self.shuffle_buffer = shuffle_buffer
        self._stored: dict[str, StoredFeatures] = {}
        self._shapes: dict[str, list[tuple[int, int]]] = {}
        self._position: dict[str, int] = {"epoch": 0, "done": 0}
        self._train_loader: ResumableLoader | None = None

    def setup(self, stage: str) -> None:
        """Write the features that are not stored yet; all processes share the work."""
        if self.cache is None or self._stored:
            return
        assert self.trainer is not None
        is_first = self.trainer.is_global_zero
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
                PhotoInputs(dataset, self.transform, augment),
                self.cache.encoder,
                device=self.trainer.strategy.root_device,
                precision=plugin.forward_context,
                num_workers=self.num_workers,
                on_bad=self.on_bad,
                show=is_first,
            )
            if new and is_first:
                self.cache.report_other_settings(name, keep=stored.folder)
            self._stored[split] = stored

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented batches, from the position of a loaded checkpoint on."""
        loader = self._loader("train", self.train_set, self.augment)
        loader.epoch, loader.done = self._position["epoch"], self._position["done"]
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> ResumableLoader:
        """Validation batches in the dataset's order."""
        return self._loader("val", self.val_set, None)

    def _loader(
        self, split: str, dataset: CaptionDataset, augment: TrainingAugment | None
    ) -> ResumableLoader:
        train = split == "train"
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if train and isinstance(dataset, Shards) and split not in self._stored:
            return self._stream(dataset, rank, world_size)
        order: EpochOrder | ShapeOrder
        if self.transform.fit == "native":
            if split not in self._shapes:
                self._shapes[split] = input_sizes(dataset, self.transform, range(len(dataset)))
            order = ShapeOrder(
                self._shapes[split],
                self.batch_size,
                seed=self.seed,
                shuffle=train,
                rank=rank,
                world_size=world_size,
            )
        else:
            order = EpochOrder(
                len(dataset),
                self.batch_size,
                seed=self.seed,
                shuffle=train,
                drop_last=train,
                rank=rank,
                world_size=world_size,
            )
        stored = self._stored.get(split)
        inputs = stored or training_inputs(
            dataset, transform=self.transform, augment=augment, cover=self.cover if train else 0.0
        )
        return ResumableLoader(
            EncodedDataset(
                dataset,
                inputs,
                self.tokenizer,
                captions_per_image=self.captions_per_image if train else None,
                max_tokens=self.max_tokens,
                seed=self.seed,
                on_bad=self.on_bad,
            ),
            order,
            collate=self._collate(like=stored.like if stored else None),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _stream(self, shards: Shards, rank: int, world_size: int) -> ResumableLoader:
        order = ShardOrder(
            shards,
            self.batch_size,
            seed=self.seed,
            buffer=self.shuffle_buffer,
            rank=rank,
            world_size=world_size,
        )
        return ResumableLoader(
            StreamedDataset(
                functools.partial(
                    training_inputs, transform=self.transform, augment=self.augment, cover=self.cover
                ),
                self.tokenizer,
                captions_per_image=self.captions_per_image,
                max_tokens=self.max_tokens,
                seed=self.seed,
                on_bad=self.on_bad,
            ),
            order,
            collate=self._collate(),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _collate(self, like: ImageTokens | None = None) -> Callable[[Sequence[EncodedSample]], CaptionBatch]:
        ids = self.tokenizer
        return functools.partial(collate, bos_id=ids.bos_id, eos_id=ids.eos_id, pad_id=ids.pad_id, like=like)

    def transfer_batch_to_device(
        self, batch: CaptionBatch, device: torch.device, dataloader_idx: int
    ) -> CaptionBatch:
        """Move a batch, images channels last."""
        return batch.to(device, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """The position of training: the epoch, and the number of its batches that were used."""
        assert self.trainer is not None
        # Not `completed`: a checkpoint written at a batch's end is written before that batch counts as completed.
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        done = progress.processed
        epoch = self.trainer.current_epoch
        if done >= self.trainer.num_training_batches:
            epoch, done = epoch + 1, 0
        return {"epoch": epoch, "done": done, **self._partition()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the position of `state_dict`.

        Raises:
            UsageError: The position is within an epoch that was partitioned differently, so that samples would be lost
                or repeated.
        """
        self._position = {"epoch": int(state_dict["epoch"]), "done": int(state_dict["done"])}
        changed = {
            name: (state_dict[name], value)
            for name, value in self._partition().items()
            if state_dict.get(name, value) != value
        }
        if changed and self._position["done"]:
            changes = ", ".join(
                f"{name} was {before} and is {now}" for name, (before, now) in changed.items()
            )
            raise UsageError(
                f"the checkpoint is from the middle of an epoch, and {changes}: samples would be lost or repeated; "
                "resume with the former values"
            )
        if self._train_loader is not None:  # strategies that shard weights create it before loading
            self._train_loader.epoch, self._train_loader.done = (
                self._position["epoch"],
                self._position["done"],
            )

    def _partition(self) -> dict[str, int]:
        """The values that must not change within an epoch."""
        partition = {
            "processes": self.trainer.world_size if self.trainer else 1,
            "batch_size": self.batch_size,
            "images": len(self.train_set),
        }
        if isinstance(self.train_set, Shards):
            partition["shuffle_buffer"] = self.shuffle_buffer
        return partition
