"""Training run from a configuration: builds the parts, checks that they fit together, and fits the model."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from captioner.build import as_list, build
from captioner.bundle import Bundle, save
from captioner.data.datamodule import CaptionDataModule
from captioner.data.integrity.reading_report import omission_lines
from captioner.data.open import open_split
from captioner.data.samples import CaptionDataset
from captioner.decoding.hypotheses import special_tokens
from captioner.errors import UsageError
from captioner.files import output_folder
from captioner.image.augment import TrainingAugment
from captioner.models.captioner import Captioner
from captioner.objectives.objective import TrainingContext
from captioner.text.tokenizer import Tokenizer
from captioner.training.callbacks.averaging import WeightAverage
from captioner.training.callbacks.caption_scores import CaptionScores
from captioner.training.callbacks.checkpoint import KeepBest, RandomState
from captioner.training.callbacks.map_health import MapHealth
from captioner.training.callbacks.progress import Progress
from captioner.training.callbacks.sample_overlays import SampleOverlays
from captioner.training.callbacks.skipped import SkippedPhotos
from captioner.training.distributed.rank_failure import report_rank_failure
from captioner.training.distributed.ranks import leave_process_group
from captioner.training.distributed.strategy import FullyShardedStrategy, check_sharding
from captioner.training.distributed.unsharded_validation import UnshardedValidation
from captioner.training.initial_model import model_from_file, new_model
from captioner.training.module import CaptionModule
from captioner.training.recompute import recompute_activations
from captioner.training.trainer import find_checkpoint, make_trainer, resolve_settings, silence_lightning
from captioner.version import __version__


@dataclass(frozen=True, slots=True)
class FitResult:
    """Result of a run: the model file of its best epoch, and the scores of the last validation."""

    model_file: Path
    scores: dict[str, float]


def fit(cfg: DictConfig, *, overrides: Sequence[str] = ()) -> FitResult | None:
    """Train a captioner.

    Args:
        cfg: The composed configuration of `train`.
        overrides: The overrides given on the command line, which `init_from` checks against its model file.

    Returns:
        None in processes other than the first.
    """
    silence_lightning()
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    output_dir = Path(cfg.output_dir)
    # In one process only: the folder's name may hold the time, which differs between processes.
    rank_zero_only(output_folder)(output_dir)
    trainer_settings = resolve_settings(settings["trainer"])
    checkpoint = find_checkpoint(cfg.resume)
    if cfg.threads is not None:
        if cfg.threads < 1:
            raise UsageError(f"threads={cfg.threads} must be at least 1, or null")
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)

    train_set, val_set = open_split(cfg.data, "train"), open_split(cfg.data, "val")
    if cfg.init_from is None:
        initial = new_model(settings, train_set)
    else:
        initial = model_from_file(settings, train_set, overrides=overrides, output_dir=output_dir)
    model, tokenizer, transform = initial.captioner, initial.tokenizer, initial.transform
    sharded = isinstance(trainer_settings["strategy"], FullyShardedStrategy)
    if sharded:
        check_sharding(model, transform, ema=cfg.ema)
    if cfg.recompute_encoder:
        recompute_activations(model.encoder)
    augment = settings["image"]["augment"]
    data = CaptionDataModule(
        train_set,
        val_set,
        tokenizer=tokenizer,
        transform=transform,
        augment=TrainingAugment(transform, **augment) if augment else None,
        cover=cfg.image.cover,
        batch_size=cfg.data.batch_size,
        captions_per_image=cfg.data.captions_per_image,
        max_tokens=model.decoder.max_length,
        seed=cfg.seed,
        num_workers=cfg.data.num_workers,
        on_bad=cfg.data.get("on_bad", "stop"),
        cache=build(settings["cache"], model.encoder, kind="cache") if settings.get("cache") else None,
        name=cfg.data.name,
        shuffle_buffer=cfg.data.get("shuffle_buffer", 1000),
    )
    objective = build(settings["objective"], kind="objective")
    objective.prepare(
        TrainingContext(
            model,
            train_set,
            tokenizer,
            special_tokens(tokenizer),
            transform,
            augmented=bool(augment),
            seed=cfg.seed,
            pretrained=cfg.init_from is not None,
        )
    )
    module = CaptionModule(model, objective, pad_id=tokenizer.pad_id, **settings["optim"])
    model_file = output_dir / "model.safetensors"
    card = _card(settings, train_set, val_set, tokenizer)

    def write(epoch: int, scores: dict[str, float]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        full = {**card, "epoch": epoch + 1, "scores": scores, "date": now}
        # `module.captioner` and not `model`: with sharded weights, validation replaces it by an unsharded copy.
        save(model_file, Bundle(module.captioner, tokenizer, transform, initial.spec, full))

    callbacks: list[Callback] = [
        Progress(),
        SkippedPhotos(train=len(train_set), val=len(val_set)),
        CaptionScores(val_set, tokenizer, limit=cfg.validate_captions, metrics=as_list(cfg.validate_metrics)),
        KeepBest(cfg.monitor, cfg.monitor_mode, write),
        ModelCheckpoint(dirpath=output_dir, filename="last", save_top_k=1, enable_version_counter=False),
        RandomState(),
        MapHealth(tokenizer),
    ]
    if cfg.samples:
        callbacks.append(
            SampleOverlays(val_set, tokenizer, transform, count=cfg.samples, folder=output_dir / "samples")
        )
    if cfg.patience is not None:
        callbacks.append(EarlyStopping(cfg.monitor, mode=cfg.monitor_mode, patience=cfg.patience))
    # These two come last; only the checkpoint is written after them, by Lightning's own order.
    if cfg.ema is not None:
        callbacks.append(WeightAverage(cfg.ema, pretrained=initial.origin is not None))
    if sharded:
        callbacks.append(UnshardedValidation())
    trainer = make_trainer(
        trainer_settings,
        callbacks,
        logger=build(settings["logger"], kind="logger") if settings["logger"] else None,
        output_dir=output_dir,
    )
    if trainer.is_global_zero:
        _print_summary(train_set, val_set, tokenizer, model, trainer_settings["precision"])
        if initial.origin is not None:
            print(f"starts from {initial.origin}", file=sys.stderr)
    with report_rank_failure(trainer):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    leave_process_group()
    if not trainer.is_global_zero:
        return None
    scores = {
        name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")
    }
    return FitResult(model_file, scores)


def _card(
    settings: Mapping[str, Any], train_set: CaptionDataset, val_set: CaptionDataset, tokenizer: Tokenizer
) -> dict[str, Any]:
    """The training card of the model file, without scores."""
    return {
        "data": {
            "name": settings["name"],
            "train_images": len(train_set),
            "val_images": len(val_set),
            "tokenizer": tokenizer.fingerprint,
        },
        "settings": json.loads(json.dumps(settings, default=str)),
        "versions": {
            "captioner": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
        },
    }


def _print_summary(
    train_set: CaptionDataset, val_set: CaptionDataset, tokenizer: Tokenizer, model: Captioner, precision: str
) -> None:
    for line in omission_lines({"train": train_set, "val": val_set}):
        print(line, file=sys.stderr)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows, cols = model.encoder.grid
    print(
        f"{len(train_set):,} training and {len(val_set):,} validation images, {tokenizer.vocab_size:,} tokens; "
        f"{model.encoder.name} on a {rows} x {cols} grid, {trained / 1e6:.2f} M weights to train, {precision}",
        file=sys.stderr,
    )
