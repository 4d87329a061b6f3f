"""Construction of the Lightning trainer: its settings, checkpoint IO and quiet logging."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from captioner.errors import UsageError
from captioner.training.callbacks.checkpoint import SafeCheckpointIO
from captioner.training.distributed.batch_norms import SynchronisedBatchNorms
from captioner.training.distributed.rank_failure import LAUNCHER_LOGGER
from captioner.training.distributed.strategy import choose_strategy
from captioner.training.precision import choose_precision


def silence_lightning() -> None:
    """Suppress Lightning's banners and hints, and its warnings, which do not hold for this package's loader."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger(LAUNCHER_LOGGER).setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    # FSDP2 warns of in-place operations on an encoder's output; there are none.
    warnings.filterwarnings(
        "ignore", message=r".*(num_workers|LeafSpec|lr_scheduler\.step|FSDP2-wrapped module).*"
    )


def resolve_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `lightning.Trainer`, with strategy and precision chosen.

    Args:
        settings: The `trainer` settings.

    Raises:
        UsageError: As `choose_strategy`.
    """
    return {
        **settings,
        "strategy": choose_strategy(settings["strategy"]),
        "precision": choose_precision(str(settings["precision"]), str(settings["accelerator"])),
    }


def make_trainer(
    settings: Mapping[str, Any],
    callbacks: Sequence[Callback] = (),
    *,
    logger: Logger | None = None,
    output_dir: Path,
) -> lightning.Trainer:
    """A trainer with atomic checkpoints and, where asked for, synchronised batch norms.

    Args:
        settings: What `resolve_settings` returns.
        callbacks: In the order in which Lightning is to call them.
        logger: Where metrics are logged; None for nowhere.
        output_dir: Default folder of files that Lightning writes.

    Raises:
        UsageError: If Lightning does not accept the settings; its message names the argument or the device.
    """
    try:
        return lightning.Trainer(
            **{"log_every_n_steps": 10, **settings},
            callbacks=list(callbacks),
            logger=logger or False,
            plugins=[
                SafeCheckpointIO(),
                *([SynchronisedBatchNorms()] if settings.get("sync_batchnorm") else []),
            ],
            default_root_dir=output_dir,
            use_distributed_sampler=False,  # the loader distributes the data itself
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=1,
        )
    except (TypeError, ValueError, RuntimeError, ModuleNotFoundError, MisconfigurationException) as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error


def find_checkpoint(resume: str | None) -> str | None:
    """The checkpoint file of `resume`, which is that file or the folder of its run; None for a new run.

    Raises:
        UsageError: If there is none.
    """
    if resume is None:
        return None
    path = Path(resume).expanduser()
    file = path / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"resume={resume} has no last.ckpt; give the folder of an interrupted run")
    return str(file)
