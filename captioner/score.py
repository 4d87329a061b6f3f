"""Scores any captions against references: python -m captioner.score candidates=FILE references=FILE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.config import as_list, run
from captioner.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioner.metrics.significance import Difference


def score(cfg: DictConfig) -> int:
    """Score as `cfg` says; prints a table and leaves scores.json in `output_dir`."""
    from captioner.files import output_folder
    from captioner.metrics.caption_files import match_names, read_candidates, read_references
    from captioner.metrics.document_frequency import load_document_frequency
    from captioner.metrics.report import score_captions
    from captioner.metrics.significance import compare_captions

    files = (
        [Path(cfg.candidates)] if isinstance(cfg.candidates, str) else [Path(name) for name in cfg.candidates]
    )
    if len(files) not in (1, 2):
        raise UsageError(f"candidates names {len(files)} files: give one to score, or two to compare.")
    folder = output_folder(cfg.output_dir)
    candidates, references = match_names(
        [read_candidates(file) for file in files], read_references(Path(cfg.references), cfg.split)
    )
    frequency = load_document_frequency(Path(cfg.frequency)) if cfg.frequency else None
    metrics = as_list(cfg.metrics)

    if len(files) == 1:
        scores = score_captions(
            candidates[0], references, metrics=metrics, frequency=frequency, strict=cfg.strict
        )
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
    if scores.left_out:
        print(f"{len(scores.left_out)} images were left out: they lack a candidate or a reference.")
    print(scores.signature)
    print(f"scores {folder / 'scores.json'}")
    return 0


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


if __name__ == "__main__":
    run(score, "score")
