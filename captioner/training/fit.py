"""How do the parts of a configuration become a training run? Builds, checks and fits."""

from __future__ import annotations

import json
import logging
import platform
import sys
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
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
from captioner.training.callbacks.checkpoint import KeepBest, RandomState, SafeCheckpointIO
from captioner.training.callbacks.map_health import MapHealth
from captioner.training.callbacks.progress import Progress
from captioner.training.callbacks.sample_overlays import SampleOverlays
from captioner.training.callbacks.skipped import SkippedPhotos
from captioner.training.distributed.batch_norms import SynchronisedBatchNorms
from captioner.training.distributed.rank_failure import OBSERVER, naming_the_lost
from captioner.training.distributed.ranks import part
from captioner.training.distributed.strategy import FullyShardedStrategy, choose_strategy, refuse_with_split
from captioner.training.distributed.unsharded_validation import WholeWeights
from captioner.training.initial_model import model_from_file, new_model
from captioner.training.module import CaptionModule
from captioner.training.precision import choose_precision
from captioner.training.recompute import recompute_activations
from captioner.version import __version__


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run leaves: the model file of its best epoch, and the last validation's scores."""

    model_file: Path
    scores: dict[str, float]


def fit(cfg: DictConfig) -> FitResult | None:
    """Train as `cfg` says. Returns None in processes other than the first."""
    _quiet()
    output_dir = Path(cfg.output_dir)
    # In one process: the folder's name may hold the time, which is later in the others.
    rank_zero_only(output_folder)(output_dir)
    trainer_settings = _trainer_settings(cfg)
    checkpoint = _checkpoint(cfg.resume)
    if cfg.threads is not None:
        if cfg.threads < 1:
            raise UsageError(f"threads={cfg.threads} must be at least 1, or null")
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)

    train_set, val_set = open_split(cfg.data, "train"), open_split(cfg.data, "val")
    if cfg.init_from is None:
        start = new_model(cfg, train_set)
    else:
        start = model_from_file(cfg, train_set, given=_given(), output_dir=output_dir)
    model, tokenizer, transform = start.captioner, start.tokenizer, start.transform
    encoder = model.encoder
    split = isinstance(trainer_settings["strategy"], FullyShardedStrategy)
    if split:
        refuse_with_split(cfg, model, transform)
    if cfg.recompute_encoder:
        recompute_activations(encoder)
    data = CaptionDataModule(
        train_set,
        val_set,
        tokenizer=tokenizer,
        transform=transform,
        augment=TrainingAugment(transform, **cfg.image.augment) if cfg.image.augment else None,
        cover=cfg.image.cover,
        batch_size=cfg.data.batch_size,
        captions_per_image=cfg.data.captions_per_image,
        max_tokens=model.decoder.max_length,
        seed=cfg.seed,
        num_workers=cfg.data.num_workers,
        on_bad=cfg.data.get("on_bad", "stop"),
        cache=build(cfg.cache, encoder) if cfg.get("cache") else None,
        name=cfg.data.name,
        shuffle_buffer=cfg.data.get("shuffle_buffer", 1000),
    )
    objective = build(cfg.objective)
    model.to(memory_format=torch.channels_last)
    objective.prepare(
        TrainingContext(
            model,
            train_set,
            tokenizer,
            special_tokens(tokenizer),
            transform,
            augmented=bool(cfg.image.augment),
            seed=cfg.seed,
            started=cfg.init_from is not None,
        )
    )
    module = CaptionModule(
        model,
        objective,
        pad_id=tokenizer.pad_id,
        **OmegaConf.to_container(cfg.optim),  # type: ignore[arg-type]
    )
    model_file = output_dir / "model.safetensors"
    card = _card(cfg, train_set, val_set, tokenizer)

    def write(epoch: int, scores: dict[str, float]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        full = {**card, "epoch": epoch + 1, "scores": scores, "date": now}
        # The one that was validated, which stands in for one whose weights are split.
        save(model_file, Bundle(module.captioner, tokenizer, transform, start.spec, full))

    callbacks: list[Callback] = [
        Progress(),
        SkippedPhotos(len(train_set)),
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
    # The last but for the checkpoint, which Lightning writes last.
    if cfg.ema is not None:
        callbacks.append(WeightAverage(cfg.ema, started=start.origin is not None))
    if split:
        callbacks.append(WholeWeights())
    trainer = _make_trainer(cfg, trainer_settings, callbacks, output_dir)
    if trainer.is_global_zero:
        _announce(train_set, val_set, tokenizer, model, trainer_settings["precision"])
        if start.origin is not None:
            print(f"starts from {start.origin}", file=sys.stderr)
    with naming_the_lost(trainer):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    part()
    if not trainer.is_global_zero:
        return None
    scores = {
        name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")
    }
    return FitResult(model_file, scores)


def _quiet() -> None:
    """Keep Lightning's greetings and hints out of the user's way; its warnings about our own loader are wrong."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger(OBSERVER).setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    # FSDP2's is of in-place operations on what an encoder gives; there are none.
    warnings.filterwarnings(
        "ignore", message=r".*(num_workers|LeafSpec|lr_scheduler\.step|FSDP2-wrapped module).*"
    )


def _checkpoint(resume: str | None) -> str | None:
    if resume is None:
        return None
    path = Path(resume).expanduser()
    file = path / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"resume={resume} holds no last.ckpt; give the folder of a run that was stopped")
    return str(file)


def _trainer_settings(cfg: DictConfig) -> dict[str, Any]:
    settings: dict[str, Any] = OmegaConf.to_container(cfg.trainer, resolve=True)  # type: ignore[assignment]
    settings["strategy"] = choose_strategy(settings["strategy"])
    settings["precision"] = choose_precision(str(settings["precision"]), str(settings["accelerator"]))
    return settings


def _make_trainer(
    cfg: DictConfig, settings: dict[str, Any], callbacks: list[Callback], output_dir: Path
) -> lightning.Trainer:
    try:
        return lightning.Trainer(
            **{"log_every_n_steps": 10, **settings},
            callbacks=callbacks,
            logger=build(cfg.logger) if cfg.logger else False,
            plugins=[
                SafeCheckpointIO(),
                *([SynchronisedBatchNorms()] if settings.get("sync_batchnorm") else []),
            ],
            default_root_dir=output_dir,
            use_distributed_sampler=False,  # the loader deals out the data itself
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=1,
        )
    except (TypeError, ValueError, RuntimeError, ModuleNotFoundError, MisconfigurationException) as error:
        # Lightning's messages name the argument or the device that is wrong.
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error


def _given() -> list[str]:
    """The overrides on the command line; none where there is no command."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _card(
    cfg: DictConfig, train_set: CaptionDataset, val_set: CaptionDataset, tokenizer: Tokenizer
) -> dict[str, Any]:
    """The training card, but for the scores."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return {
        "data": {
            "name": cfg.name,
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


def _announce(
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
