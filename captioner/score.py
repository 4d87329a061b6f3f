"""Scoring of captions against references: python -m captioner.score candidates=FILE references=FILE."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.build import as_list
from captioner.cli import run
from captioner.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioner.metrics.document_frequency import DocumentFrequency
    from captioner.metrics.report import Scores
    from captioner.metrics.significance import Difference


def score(cfg: DictConfig) -> int:
    """Score as configured; prints a table and writes scores.json to `output_dir`."""
    from captioner.files import output_folder
    from captioner.metrics.document_frequency import load_document_frequency
    from captioner.metrics.measure import check_metrics

    files = (
        [Path(cfg.candidates)] if isinstance(cfg.candidates, str) else [Path(name) for name in cfg.candidates]
    )
    if len(files) not in (1, 2):
        raise UsageError(f"candidates names {len(files)} files; give one to score, or two to compare")
    metrics = as_list(cfg.metrics)
    is_variety = "self-CIDEr" in metrics
    if is_variety and (metrics != ["self-CIDEr"] or len(files) == 2):
        raise UsageError(
            "self-CIDEr takes several captions for each image, the other metrics take one; "
            "give metrics=[self-CIDEr] and one file"
        )
    clip = "CLIPScore" in metrics
    if clip and (len(files) == 2 or not cfg.images):
        raise UsageError(
            "CLIPScore needs the photos and scores one file of candidates; give images=FOLDER and one file"
        )
    metrics = [name for name in metrics if name != "CLIPScore"]
    if not is_variety:
        check_metrics(metrics)
    frequency = load_document_frequency(Path(cfg.frequency)) if cfg.frequency else None
    folder = output_folder(cfg.output_dir)
    if is_variety:
        _score_variety(files[0], cfg, frequency, folder)
    else:
        _score(files, metrics, cfg, frequency, folder, clip=clip)
    print(f"scores {folder / 'scores.json'}")
    return 0


def _score(
    files: Sequence[Path],
    metrics: Sequence[str],
    cfg: DictConfig,
    frequency: DocumentFrequency | None,
    folder: Path,
    *,
    clip: bool,
) -> None:
    """Score one file, or compare two."""
    from captioner.metrics.caption_files import match_names, read_candidates, read_references
    from captioner.metrics.corpus_diversity import corpus_diversity
    from captioner.metrics.document_frequency import document_frequency, save_document_frequency
    from captioner.metrics.ptb.ptb_tokenizer import tokenize
    from captioner.metrics.report import score_captions, wordless
    from captioner.metrics.significance import compare_captions

    candidates, references = match_names(
        [read_candidates(file) for file in files], read_references(Path(cfg.references), cfg.split)
    )
    if cfg.save_frequency:
        path = Path(cfg.save_frequency)
        tokenized = ([tokenize(caption) for caption in of_image] for of_image in references.values())
        save_document_frequency(document_frequency(tokenized, path.name), path)
    if len(files) == 1:
        scores = score_captions(
            candidates[0], references, metrics=metrics, frequency=frequency, strict=cfg.strict
        )
        if clip:
            scores = _with_clip_score(scores, candidates[0], cfg)
        _print_table([scores.corpus])
    else:
        first, second = candidates
        comparison = compare_captions(
            first,
            second,
            references,
            metrics=metrics,
            frequency=frequency,
            strict=cfg.strict,
            resamples=cfg.resamples,
        )
        scores = comparison.first
        _print_table([scores.corpus, comparison.second.corpus], comparison.differences)
        (folder / "scores_second.json").write_text(comparison.second.as_json() + "\n", encoding="utf-8")
        (folder / "differences.json").write_text(comparison.differences_as_json() + "\n", encoding="utf-8")
    (folder / "scores.json").write_text(scores.as_json() + "\n", encoding="utf-8")
    for captions in candidates:
        scored = {image: captions[image] for image in scores.images}
        if note := wordless(scored):
            print(note, file=sys.stderr)
        variety = corpus_diversity(list(scored.values()))
        print(
            f"{variety.distinct_captions} of {variety.captions} captions are distinct, "
            f"of {variety.vocabulary} words, {variety.mean_length:.2f} a caption; "
            f"distinct-1 {variety.distinct_1:.4f}, distinct-2 {variety.distinct_2:.4f}"
        )
    if scores.left_out:
        print(f"{len(scores.left_out)} images were left out: they lack a candidate or a reference")
    print(scores.signature)


def _with_clip_score(scores: Scores, captions: Mapping[str, str], cfg: DictConfig) -> Scores:
    """The scores with CLIPScore added; the only part that imports torch."""
    from captioner.evaluation.judges.clip_score import ClipScore, match_photos, score_files
    from captioner.image.find import find_photos

    photos = match_photos(find_photos(cfg.images), list(scores.images))
    clip_score = ClipScore(cfg.clip)
    values = score_files(clip_score, {image: captions[image] for image in photos}, photos)
    return replace(
        scores,
        corpus={**scores.corpus, "CLIPScore": fsum(values.values()) / len(values)},
        images={image: {**other, "CLIPScore": values[image]} for image, other in scores.images.items()},
        signature=f"{scores.signature}|{clip_score.signature}",
    )


def _score_variety(file: Path, cfg: DictConfig, frequency: DocumentFrequency | None, folder: Path) -> None:
    """Score the diversity of several captions of each image."""
    from captioner.metrics.caption_files import match_names, read_multiple_candidates, read_references
    from captioner.metrics.self_cider import score_self_cider

    [captions], references = match_names(
        [read_multiple_candidates(file)], read_references(Path(cfg.references), cfg.split)
    )
    scores = score_self_cider(captions, references, frequency=frequency, strict=cfg.strict)
    _print_table([scores.corpus])
    print(scores.signature)
    (folder / "scores.json").write_text(scores.as_json() + "\n", encoding="utf-8")


def _print_table(
    columns: Sequence[Mapping[str, float]], differences: Mapping[str, Difference] | None = None
) -> None:
    if differences:
        print(f"{'':<20}{'first':>9}{'second':>9}{'change':>10}   95 % interval")
    for name in columns[0]:
        row = f"{name:<20}" + "".join(f"{_figure(column[name]):>9}" for column in columns)
        if differences:
            change = differences[name]
            row += f"{change.value:>+10.4f}   {change.low:+.4f} to {change.high:+.4f}"
        print(row)


def _figure(value: float) -> str:
    return f"{value:.4f}" if value == value else "undefined"


def main() -> None:
    """Run the command."""
    run(score, "score")


if __name__ == "__main__":
    main()
