"""Processor time of an epoch from stored features and from photos, with the same frozen encoder and decoder.

    python scripts/bench_cache.py data=flickr8k data.root=DIR encoder.weights=FILE [--photos 256] [setting=value ...]

Settings are those of `captioner.train`, including the recipe: with image.augment each photo is augmented, decoded and
encoded again in every epoch, and the cache holds several views. Epochs from photos and from features alternate in one
process and thread, in the precision that training would choose. All figures are processor time, which other load on the
machine affects little.

The decoder's part is the same in both, so the saving is larger with fewer captions per photo and epoch
(data.captions_per_image=1).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim import AdamW

from captioner.build import build
from captioner.cli import compose
from captioner.data.batch import CaptionBatch, collate
from captioner.data.features.feature_cache import FeatureCache
from captioner.data.features.feature_rows import StoredType
from captioner.data.features.feature_writer import write_features
from captioner.data.loader import EpochOrder, ResumableLoader
from captioner.data.open import open_split
from captioner.data.samples import CaptionSample
from captioner.data.torch_dataset import EncodedDataset, PhotoInputs
from captioner.decoding.hypotheses import special_tokens
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo
from captioner.malloc import keep_freed_memory
from captioner.objectives.objective import TrainingContext, TrainingStep
from captioner.training.initial_model import new_model
from captioner.training.precision import choose_precision


class Head:
    """The first photos of a data set."""

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset = dataset
        self.count = min(count, len(dataset))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> CaptionSample:
        sample: CaptionSample = self.dataset[index]
        return sample

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        photo: Photo = self.dataset.photo(index, min_size=min_size)
        return photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2, help="epochs from each source")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument(
        "--kept",
        action="append",
        choices=["fp16", "int8"],
        help="number format of the features; default: both",
    )
    parser.add_argument("settings", nargs="*")
    chosen = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    cfg = compose("train", chosen.settings)
    torch.manual_seed(0)
    whole = open_split(cfg.data, "train")
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    start = new_model(settings, whole)
    photos = Head(whole, chosen.photos)
    transform, tokenizer, captioner = start.transform, start.tokenizer, start.captioner
    augment = TrainingAugment(transform, **cfg.image.augment) if cfg.image.augment else None
    plain = PhotoInputs(photos, transform, augment)
    objective = build(cfg.objective, kind="objective")
    context = TrainingContext(
        captioner, photos, tokenizer, special_tokens(tokenizer), transform, augmented=augment is not None
    )
    objective.prepare(context)
    optimizer = AdamW([p for p in captioner.parameters() if p.requires_grad], lr=1e-4)
    captioner.to(memory_format=torch.channels_last).train()

    def loader(inputs: Any, like: Any) -> ResumableLoader:
        dataset = EncodedDataset(
            photos,
            inputs,
            tokenizer,
            captions_per_image=cfg.data.captions_per_image,
            max_tokens=captioner.decoder.max_length,
            seed=0,
        )

        def stack(samples: Any) -> CaptionBatch:
            special = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
            return collate(samples, **special, like=like)

        order = EpochOrder(len(photos), cfg.data.batch_size, drop_last=True)
        return ResumableLoader(dataset, order, collate=stack)

    with tempfile.TemporaryDirectory() as scratch:
        loaders = {"photos": loader(plain, None)}
        for kept in chosen.kept or ("fp16", "int8"):
            cache = FeatureCache(
                captioner.encoder, folder=Path(scratch), views=chosen.views, dtype=_kept(kept)
            )
            stored = cache.store("bench", photos, transform=transform, augment=augment)
            write_features(stored, plain, captioner.encoder, device=torch.device("cpu"))
            loaders[f"features as {kept}"] = loader(stored, stored.like)
        times: dict[str, list[dict[str, float]]] = defaultdict(list)
        precision = choose_precision(str(cfg.trainer.precision), "cpu")
        for _ in range(chosen.epochs):
            for name, batches in loaders.items():
                captioner.train()
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                    times[name].append(epoch(batches, captioner, objective, optimizer))
    rows, cols = transform.size
    print(
        f"\n{len(photos)} photos at {rows} x {cols} px, {captioner.encoder.grid} cells of {captioner.encoder.dim}, "
        f"{cfg.data.captions_per_image or 'all'} captions per photo, {precision}"
    )
    best = {name: min(epochs, key=lambda parts: sum(parts.values())) for name, epochs in times.items()}
    usual = sum(best["photos"].values())
    print(f"{'processor seconds per epoch':36}{'read':>8}{'encode':>8}{'decoder':>9}{'update':>8}{'all':>8}")
    for name, parts in best.items():
        seconds = "".join(f"{parts[part]:{width}.2f}" for part, width in PARTS.items())
        print(f"{name:36}{seconds}{sum(parts.values()):8.2f}{usual / sum(parts.values()):7.1f} x")


PARTS = {"read": 8, "encode": 8, "decoder": 9, "update": 8}


def epoch(
    batches: ResumableLoader, captioner: Any, objective: nn.Module, optimizer: AdamW
) -> dict[str, float]:
    """Processor seconds of each part of one epoch."""
    spent = dict.fromkeys(PARTS, 0.0)
    source: Iterator[CaptionBatch] = iter(batches)
    last = time.process_time()

    def stop(part: str) -> None:
        nonlocal last
        now = time.process_time()
        spent[part] += now - last
        last = now

    while (batch := next(source, None)) is not None:
        stop("read")
        if isinstance(batch.images, torch.Tensor):
            batch.images = captioner.encoder(batch.images)
        stop("encode")
        losses = objective(captioner, TrainingStep(batch, step=0, progress=0.0))
        torch.stack(list(losses.terms.values())).sum().backward()
        stop("decoder")
        optimizer.step()
        optimizer.zero_grad()
        stop("update")
    return spent


def _kept(name: str) -> StoredType:
    return "int8" if name == "int8" else "fp16"


if __name__ == "__main__":
    main()
