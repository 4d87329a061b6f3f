"""Do the maps of a split move at all, and which words look away? Of all its captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.evaluation.judges.annotations import Truth, said
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.tables import json_of
from captioner.explain.attention_stats import AttentionStats, health, pulse
from captioner.metrics.report import name_some

LOOKS_AWAY = 0.9
"""Words that look less at the picture are told of."""
TOLD = 6
"""So many of those that look least, and of those that look most."""


class HealthJudge:
    """Feels the pulse of the cross-attention maps.

    Args:
        truth: Knows which words are nouns.
    """

    name = "health"

    def __init__(self, truth: Truth) -> None:
        self._truth = truth

    def judge(self, case: Case) -> Finding:
        """One caption's maps."""
        nouns = {word for start, end in self._truth.nouns(case) for word in range(start, end)}
        return Finding({}, kept=pulse(said(case.caption), case.caption.maps, nouns=nouns))

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """All captions' maps together."""
        found = health([finding.kept for finding in findings if isinstance(finding.kept, AttentionStats)])
        figures = asdict(found)
        del figures["captions"]
        still = figures.pop("still_heads")
        as_json: dict[str, Any] = json_of(
            {
                **{f"map_{key}": value for key, value in figures.items()},
                "map_still_heads": len(still),
                "which_are_still": still,
                "warning": found.warning() or "",
            }
        )
        return as_json

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """What words see, where some look away; which heads are still; and a warning where maps have collapsed."""
        lines = []
        by_word = sorted(summary["map_seen_words"].items(), key=lambda pair: pair[1])
        if by_word and by_word[0][1] < LOOKS_AWAY:
            least, most = by_word[:TOLD], by_word[TOLD:][-TOLD:]
            ends = [
                ", ".join(f"{word} {share:.0%}" for word, share in part) for part in (least, most) if part
            ]
            lines.append(f"attention on the picture, by word: {' ... '.join(ends)}")
        if still := summary["which_are_still"]:
            heads = name_some([f"layer {layer} head {head}" for layer, head in still], limit=20)
            lines.append(f"heads that never move, {len(still)} of {summary['map_num_heads']}: {heads}")
        if summary["warning"]:
            lines.append(f"warning: {summary['warning']}")
        return ["", *lines] if lines else []
