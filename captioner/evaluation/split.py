"""Evaluation of a split: open and check, caption and judge, score, write."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from captioner.build import as_list
from captioner.bundle import save
from captioner.data.integrity.reading_report import omission_lines
from captioner.data.open import open_split
from captioner.data.samples import CaptionDataset, Subset, repeated_ids
from captioner.data.scenes import Scenes
from captioner.data.shards.shard_dataset import ID_REMEDY
from captioner.decoding import Search
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.evaluation.captions import Record, caption_split, in_order, share
from captioner.evaluation.distributed import ProcessGroup
from captioner.evaluation.diversity import diversity_figures, training_captions, unknown_words
from captioner.evaluation.judges.annotations import CocoTruth, open_truth
from captioner.evaluation.judges.attention_judge import HealthJudge
from captioner.evaluation.judges.clip_score import ClipJudge, ClipScore
from captioner.evaluation.judges.faithfulness_judge import FaithfulnessJudge
from captioner.evaluation.judges.grounding_judge import GroundingJudge
from captioner.evaluation.judges.judge import Judge
from captioner.evaluation.judges.scenes_judge import ScenesJudge
from captioner.evaluation.result import json_numbers, print_result, write_result
from captioner.evaluation.worst_and_best import choose, write_worst_and_best
from captioner.explain.methods import Method
from captioner.files import output_folder
from captioner.metrics.measure import check_metrics
from captioner.metrics.report import name_some, score_captions, wordless
from captioner.pipeline import CaptionPipeline, load_with_search


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The parts of an evaluation, opened and checked before the first image is captioned.

    Attributes:
        dataset: The split.
        size: The number of images, from the first.
        references: The captions of each image.
        metrics: The names of the caption metrics.
        search: How captions are chosen.
        pipeline: The model.
        judges: What else judges each caption.
        methods: How captions are explained.
        folder: Where the result is written.
    """

    dataset: CaptionDataset
    size: int
    references: Sequence[Sequence[str]]
    metrics: Sequence[str]
    search: Search
    pipeline: CaptionPipeline
    judges: Sequence[Judge]
    methods: Sequence[Method]
    folder: Path


def judges_for(cfg: DictConfig, dataset: CaptionDataset, pipeline: CaptionPipeline) -> list[Judge]:
    """The judges that `cfg` asks for and that this dataset allows."""
    needs_truth = cfg.grounding or cfg.annotations is not None
    known = needs_truth or isinstance(dataset, Scenes)
    truth = open_truth(dataset, cfg.data, cfg.annotations) if known else CocoTruth()
    judges: list[Judge] = []
    if isinstance(dataset, Scenes):
        judges.append(ScenesJudge(dataset))
    if needs_truth:
        judges.append(GroundingJudge(truth))
    if cfg.faithfulness:
        judges.append(
            FaithfulnessJudge(
                truth,
                pipeline,
                images=_size(cfg.faithfulness_images, len(dataset), name="faithfulness_images"),
            )
        )
    if ClipJudge.name in as_list(cfg.metrics):
        judges.append(ClipJudge(ClipScore(cfg.clip, device=pipeline.device)))
    return [*judges, HealthJudge(truth)]


def evaluate_split(cfg: DictConfig, group: ProcessGroup | None = None) -> dict[str, Any] | None:
    """Evaluate as `cfg` says.

    Args:
        cfg: The configuration of `captioner.evaluate`.
        group: The processes that share the work; None for this one alone.

    Returns:
        The content of scores.json, or None in processes other than the first.

    Raises:
        CaptionerError: In the first process, if any of them failed.
    """
    group = group or ProcessGroup()
    start = time.monotonic()
    plan: Plan | None = None
    part: list[Record] | CaptionerError
    try:
        plan = _plan(cfg, group)
        start = time.monotonic()
        part = caption_split(
            plan.pipeline,
            plan.dataset,
            plan.size,
            search=plan.search,
            batch_size=cfg.batch_size,
            judges=plan.judges,
            methods=plan.methods,
            group=group,
        )
    except CaptionerError as error:
        part = error
    parts = group.gather(part)
    if group.rank:
        return None
    seconds = time.monotonic() - start
    for one in parts:
        if isinstance(one, CaptionerError):
            raise one
    assert plan is not None
    records = in_order([one for one in parts if isinstance(one, list)])
    if not records:
        raise DataError(f"none of the {plan.size} images of split={cfg.split} can be read")
    return _conclude(cfg, plan, records, seconds)


def evaluate_process(cfg: DictConfig, group: ProcessGroup) -> int:
    """Run `evaluate_split` as one of several processes; the exit status is 1 if an image could not be read."""
    result = evaluate_split(cfg, group)
    return 1 if result and result["left_out"] else 0


def _plan(cfg: DictConfig, group: ProcessGroup) -> Plan:
    if cfg.threads is not None:
        if not isinstance(cfg.threads, int) or cfg.threads < 1:
            raise UsageError(f"threads={cfg.threads} must be a whole number of at least 1, or null")
        torch.set_num_threads(cfg.threads)
    metrics = [name for name in as_list(cfg.metrics) if name != ClipJudge.name]
    check_metrics(metrics)
    dataset = open_split(cfg.data, cfg.split)
    dataset, references = _to_score(
        dataset, _size(cfg.limit, len(dataset)), on_bad=cfg.data.get("on_bad", "stop")
    )
    size = len(references)
    if cfg.page < 0:
        raise UsageError(f"page={cfg.page} must be at least 0; 0 makes no page")
    pipeline, search = load_with_search(cfg, process=group.rank if group.size > 1 else None)
    methods = pipeline.methods(
        as_list(cfg.explain),
        warn=lambda message: None if group.rank else print(f"warning: {message}", file=sys.stderr),
    )
    judges = judges_for(cfg, dataset, pipeline)
    if cfg.keep_best_head and not any(judge.name == GroundingJudge.name for judge in judges):
        raise UsageError("keep_best_head=true needs grounding=true, which finds the best head")
    folder = output_folder(cfg.output_dir)
    return Plan(dataset, size, references, metrics, search, pipeline, judges, methods, folder)


def _to_score(
    dataset: CaptionDataset, size: int, *, on_bad: str
) -> tuple[CaptionDataset, list[tuple[str, ...]]]:
    """The first `size` images and their captions; with `on_bad="skip"` without those that have none.

    Raises:
        DataError: An id stands for several images, or there is no caption to score against.
    """
    samples = [dataset[index] for index in range(size)]
    if twice := repeated_ids(sample.id for sample in samples):
        own, places = next(iter(twice.items()))
        raise DataError(
            f"{len(twice):,} ids of the split stand for several images (such as {own}: images "
            f"{', '.join(map(str, places[:4]))}), so captions cannot be assigned to images; {ID_REMEDY}"
        )
    kept = [index for index, sample in enumerate(samples) if sample.captions]
    if len(kept) == size:
        return dataset, [sample.captions for sample in samples]
    if on_bad != "skip" or not kept:
        bare = [sample.id for sample in samples if not sample.captions]
        raise DataError(
            f"{len(bare)} of the images have no reference caption to score against ({name_some(bare)}): "
            "caption them with captioner.predict, take them out of the split, or leave them out by data.on_bad=skip"
        )
    return Subset(dataset, kept), [samples[index].captions for index in kept]


def _conclude(cfg: DictConfig, plan: Plan, records: Sequence[Record], seconds: float) -> dict[str, Any]:
    """Score the captions, write and print the result."""
    scores = score_captions(
        {record.image: record.caption for record in records},
        {record.image: plan.references[record.index] for record in records},
        metrics=plan.metrics,
        decoding=", ".join(f"{key}={value}" for key, value in plan.search.spec().items()),
    )
    empty = wordless({record.image: record.caption for record in records})
    notes, training = [*omission_lines({cfg.split: plan.dataset}), *([empty] if empty else [])], None
    if cfg.novelty:
        try:
            training = training_captions(cfg.data, plan.pipeline.card)
        except CaptionerError as error:
            notes.append(f"the share of novel captions is left out: {error}")
    result: dict[str, Any] = {
        "images": len(records),
        "left_out": plan.size - len(records),
        "corpus": json_numbers(scores.corpus),
        "diversity": json_numbers(diversity_figures([record.caption for record in records], training)),
        "vocabulary": unknown_words(plan.pipeline.model.tokenizer, plan.references),
        "images_per_second": len(records) / seconds,
        "signature": scores.signature,
        "model": str(cfg.model),
        "data": OmegaConf.to_container(cfg.data, resolve=True),
        "split": cfg.split,
        "notes": notes,
    }
    for judge in plan.judges:
        result[judge.name] = judge.summary([record.findings[judge.name] for record in records])
    write_result(plan.folder, result, records, scores.images)
    if cfg.page:
        write_worst_and_best(
            plan.folder / "index.html",
            choose(records, scores.images, count=cfg.page),
            scores.images,
            pipeline=plan.pipeline,
            dataset=plan.dataset,
            search=plan.search,
            methods=plan.methods,
            batches=share(plan.size, cfg.batch_size, ProcessGroup()),
            title=f"Worst and best captions of {cfg.split}",
        )
    groups = ("corpus", "diversity", "vocabulary", *(judge.name for judge in plan.judges))
    print_result(result, plan.folder, groups=groups)
    for judge in plan.judges:
        for line in judge.report(result[judge.name], plan.folder):
            print(line)
    if cfg.keep_best_head:
        _keep_best_head(cfg.model, plan.pipeline, result[GroundingJudge.name]["best_head"])
    return result


def _keep_best_head(path: str, pipeline: CaptionPipeline, best: dict[str, int] | None) -> None:
    """Write the best head into the model file's card, for explain=attention:best."""
    if best is None:
        print(
            "keep_best_head: no caption names an object of its photo, so there is no best head",
            file=sys.stderr,
        )
        return
    save(Path(path), replace(pipeline.model, card={**pipeline.card, "best_head": best}))
    print(
        f"wrote the best head into {path}: layer {best['layer']}, head {best['head']} (explain=attention:best)"
    )


def _size(limit: Any, available: int, *, name: str = "limit") -> int:
    if limit is None:
        return available
    if not isinstance(limit, int) or limit < 1:
        raise UsageError(f"{name}={limit} must be a whole number of at least 1, or null for the whole split")
    return min(limit, available)
