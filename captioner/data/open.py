"""Opening of the splits that a `data` configuration defines."""

from __future__ import annotations

from omegaconf import DictConfig

from captioner.build import build
from captioner.data.samples import CaptionDataset
from captioner.errors import UsageError, did_you_mean


def split_names(data: DictConfig) -> list[str]:
    """The splits of a `data` configuration."""
    return [str(name) for name in data if isinstance(data[name], DictConfig) and "_target_" in data[name]]


def open_split(data: DictConfig, split: str) -> CaptionDataset:
    """The split called `split` of a `data` configuration.

    Raises:
        UsageError: If the configuration has no such split, or its dataset refuses its settings.
    """
    splits = split_names(data)
    if split not in splits:
        raise UsageError(
            f"split={split} is not one of this dataset's: {', '.join(splits)}{did_you_mean(split, splits)}"
        )
    dataset: CaptionDataset = build(data[split], kind="dataset")
    return dataset
