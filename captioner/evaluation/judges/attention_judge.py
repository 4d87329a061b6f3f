"""Health of the attention maps of a split: collapse, constant heads, and attention on the picture by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.evaluation.judges.annotations import Truth, said
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.tables import json_of
from captioner.explain.attention_stats import AttentionStats, attention_health, attention_stats
from captioner.metrics.report import name_some

LOW_ATTENTION = 0.9
"""Attention by word is reported if a word has less than this share on the picture."""
REPORTED = 6
"""Number of words reported with the least, and with the most, attention on the picture."""


class HealthJudge:
    """Statistics of the cross-attention maps of all captions.

    Args:
        truth: Says which words are nouns.
    """

    name = "health"

    def __init__(self, truth: Truth) -> None:
        self._truth = truth

    def judge(self, case: Case) -> Finding:
        """Statistics of one caption's maps."""
        nouns = {word for start, end in self._truth.nouns(case) for word in range(start, end)}
        return Finding({}, kept=attention_stats(said(case.caption), case.caption.maps, nouns=nouns))

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """Statistics of all captions' maps."""
        health = attention_health(
            [finding.kept for finding in findings if isinstance(finding.kept, AttentionStats)]
        )
        figures = asdict(health)
        del figures["captions"]
        still = figures.pop("still_heads")
        as_json: dict[str, Any] = json_of(
            {
                **{f"map_{key}": value for key, value in figures.items()},
                "map_still_heads": len(still),
                "which_are_still": still,
                "warning": health.warning() or "",
            }
        )
        return as_json

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """Attention by word if some of it is low, constant heads, and a warning if the maps have collapsed."""
        lines = []
        by_word = sorted(summary["map_seen_words"].items(), key=lambda pair: pair[1])
        if by_word and by_word[0][1] < LOW_ATTENTION:
            least, most = by_word[:REPORTED], by_word[REPORTED:][-REPORTED:]
            ends = [
                ", ".join(f"{word} {share:.0%}" for word, share in part) for part in (least, most) if part
            ]
            lines.append(f"attention on the picture, by word: {' ... '.join(ends)}")
        if still := summary["which_are_still"]:
            heads = name_some([f"layer {layer} head {head}" for layer, head in still], limit=20)
            lines.append(f"constant heads, {len(still)} of {summary['map_num_heads']}: {heads}")
        if summary["warning"]:
            lines.append(f"warning: {summary['warning']}")
        return ["", *lines] if lines else []
