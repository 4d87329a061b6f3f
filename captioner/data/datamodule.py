"""How does a dataset become training and validation batches? `CaptionDataModule`, one for every reader."""

from __future__ import annotations

import functools
from typing import Any, get_args

import lightning
import torch

from captioner.data.batch import CaptionBatch, collate
from captioner.data.features.feature_cache import FeatureCache, StoredFeatures
from captioner.data.features.feature_writer import write_features
from captioner.data.loader import EpochOrder, ResumableLoader
from captioner.data.samples import CaptionDataset
from captioner.data.shape_order import ShapeOrder
from captioner.data.shards.shard_stream import ShardOrder, Streamed
from captioner.data.shards.shards import Shards
from captioner.data.torch_dataset import Encoded, OnBad, Photos, drawn_pictures, input_sizes
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
        cover: Chance (0–1) that patches of a training image are covered; see `captioner.image.cover`.
        batch_size: Images per batch and process.
        captions_per_image: How many of an image's captions a training batch holds, drawn anew in each epoch; None
            for all. Validation always takes all.
        max_tokens: Longer captions are cut to this many tokens, BOS and EOS counted.
        seed: Decides order and augmentation.
        num_workers: Reading processes; 0 reads in the training process.
        on_bad: "stop" at a photo that cannot be read, or "skip" it.
        cache: Where the encoder's features are stored and read instead of photos; None reads photos.
        name: The data's name, for the folders of `cache`.
        shuffle_buffer: Samples among which the next is drawn, where training streams shards.

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
                "image.cover hides pixels, and cache=features stores what the encoder makes of whole ones; "
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
        if on_bad not in get_args(OnBad):
            raise UsageError(f"data.on_bad={on_bad} must be stop or skip")
        if transform.fit == "native" and isinstance(train, Shards):
            raise UsageError(
                "image.fit=native needs batches of one shape, and data=shards is read as it comes; "
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
        self._place: dict[str, int] = {"epoch": 0, "done": 0}
        self._training: ResumableLoader | None = None

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
        self._training = loader
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
        special = self.tokenizer
        stored = self._stored.get(split)
        pictures = stored or drawn_pictures(
            dataset, transform=self.transform, augment=augment, cover=self.cover if train else 0.0
        )
        return ResumableLoader(
            Encoded(
                dataset,
                pictures,
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

    def _stream(self, shards: Shards, rank: int, world_size: int) -> ResumableLoader:
        order = ShardOrder(
            shards,
            self.batch_size,
            seed=self.seed,
            buffer=self.shuffle_buffer,
            rank=rank,
            world_size=world_size,
        )
        special = self.tokenizer
        return ResumableLoader(
            Streamed(
                functools.partial(
                    drawn_pictures, transform=self.transform, augment=self.augment, cover=self.cover
                ),
                self.tokenizer,
                captions_per_image=self.captions_per_image,
                max_tokens=self.max_tokens,
                seed=self.seed,
                on_bad=self.on_bad,
            ),
            order,
            collate=functools.partial(
                collate, bos_id=special.bos_id, eos_id=special.eos_id, pad_id=special.pad_id
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
        return {"epoch": epoch, "done": done, **self._division()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` stood.

        Raises:
            UsageError: In the middle of an epoch that was divided otherwise, so that samples would be lost or repeated.
        """
        self._place = {"epoch": int(state_dict["epoch"]), "done": int(state_dict["done"])}
        others = {
            name: (state_dict[name], value)
            for name, value in self._division().items()
            if state_dict.get(name, value) != value
        }
        if others and self._place["done"]:
            told = ", ".join(f"{name} was {before} and is {now}" for name, (before, now) in others.items())
            raise UsageError(
                f"the checkpoint stands in the middle of an epoch, and {told}: samples would be lost or repeated; "
                "resume with what it was"
            )
        if self._training is not None:  # a strategy that splits weights has asked for it before it loads
            self._training.epoch, self._training.done = self._place["epoch"], self._place["done"]

    def _division(self) -> dict[str, int]:
        """What must not change within an epoch."""
        division = {
            "processes": self.trainer.world_size if self.trainer else 1,
            "batch_size": self.batch_size,
            "images": len(self.train_set),
        }
        if isinstance(self.train_set, Shards):
            division["shuffle_buffer"] = self.shuffle_buffer
        return division
