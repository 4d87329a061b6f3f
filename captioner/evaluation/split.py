"""How does `captioner.evaluate` go about a split? Opens it, captions and judges it, scores it, writes what it found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.data.open import open_split
from captioner.data.samples import CaptionDataset
from captioner.data.scenes import Scenes
from captioner.decoding import make_search
from captioner.errors import DataError, UsageError
from captioner.evaluation.captions import Record, caption_split
from captioner.evaluation.judge import Judge
from captioner.evaluation.result import json_numbers, print_result, write_result
from captioner.evaluation.scenes import ScenesJudge
from captioner.evaluation.worst_and_best import choose, write_worst_and_best
from captioner.metrics.report import score_captions
from captioner.pipeline import CaptionPipeline, load


def judges_for(dataset: CaptionDataset, pipeline: CaptionPipeline) -> list[Judge]:
    """Who judges the captions of this dataset."""
    judges: list[Judge] = []
    if isinstance(dataset, Scenes):
        judges.append(ScenesJudge(dataset))
    return judges


def evaluate_split(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate as `cfg` says; prints a table and returns what scores.json holds."""
    dataset = open_split(cfg.data, cfg.split)
    size = _size(cfg.limit, len(dataset))
    if cfg.page < 0:
        raise UsageError(f"page={cfg.page} must be at least 0; 0 makes no page")
    search = make_search(cfg.beam_size, max_length=cfg.max_length, length_penalty=cfg.length_penalty)
    pipeline = load(cfg.model, device=cfg.device)
    judges = judges_for(dataset, pipeline)
    folder = Path(cfg.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output_dir={folder} cannot be written: {error.strerror}; choose another"
        ) from error

    start = time.monotonic()
    records = caption_split(pipeline, dataset, size, search=search, batch_size=cfg.batch_size, judges=judges)
    seconds = time.monotonic() - start
    if not records:
        raise DataError(f"none of the {size} images of split={cfg.split} can be read")

    scores = score_captions(
        {record.image: record.caption for record in records},
        {record.image: dataset[record.index].captions for record in records},
        metrics=("BLEU", "ROUGE-L", "CIDEr-D"),
        decoding=", ".join(f"{key}={value}" for key, value in search.spec().items()),
    )
    result: dict[str, Any] = {
        "images": len(records),
        "left_out": size - len(records),
        "corpus": json_numbers(scores.corpus),
        "diversity": _diversity(records),
        "images_per_second": len(records) / seconds,
        "signature": scores.signature,
        "model": str(cfg.model),
        "data": OmegaConf.to_container(cfg.data, resolve=True),
        "split": cfg.split,
    }
    for judge in judges:
        result[judge.name] = judge.summary([record.findings[judge.name].figures for record in records])
    write_result(folder, result, records, scores.images)
    if cfg.page:
        write_worst_and_best(
            folder / "index.html",
            choose(records, scores.images, count=cfg.page),
            scores.images,
            pipeline=pipeline,
            dataset=dataset,
            search=search,
            title=f"Worst and best captions of {cfg.split}",
        )
    print_result(result, folder, groups=("corpus", "diversity", *(judge.name for judge in judges)))
    return result


def _size(limit: Any, available: int) -> int:
    if limit is None:
        return available
    if not isinstance(limit, int) or limit < 1:
        raise UsageError(f"limit={limit} must be a whole number of at least 1, or null for the whole split")
    return min(limit, available)


def _diversity(records: Sequence[Record]) -> dict[str, float]:
    texts = [record.caption for record in records]
    words = [word for text in texts for word in text.split()]
    return {
        "distinct_captions": len(set(texts)),
        "vocabulary_used": len(set(words)),
        "mean_length": len(words) / max(1, len(texts)),
    }
