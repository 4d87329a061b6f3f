"""Truth of captions of the embedded dataset `scenes`, and the pointing game of their nouns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.data.scenes import Scenes, check
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.measures.pointing import NamedBoxes, PointingResult, pointing_game


class ScenesJudge:
    """Checks captions against the scenes they describe.

    Args:
        scenes: The split that is captioned.
    """

    name = "scenes"

    def __init__(self, scenes: Scenes) -> None:
        self._scenes = scenes

    def judge(self, case: Case) -> Finding:
        """Whether the caption is true, and its nouns' pointing game."""
        scene = self._scenes.scene(case.index)
        verdict = check(case.caption.text, scene)
        named = [
            NamedBoxes(mention.word_index, tuple(scene.objects[k].box for k in mention.objects))
            for mention in verdict.mentions
        ]
        return Finding(
            {
                "true": verdict.true,
                "complete": verdict.true and verdict.complete,
                "reason": verdict.reason,
                "held_out_pair": scene.has_held_out,
                "pointing": asdict(pointing_game([case.caption], [named])),
            },
            boxes={noun.word_index: noun.boxes for noun in named},
        )

    def summary(self, findings: Sequence[Finding]) -> dict[str, Any]:
        """Shares of true captions and the pointing game over all nouns."""
        figures = [finding.figures for finding in findings]
        held_out = [of_image for of_image in figures if of_image["held_out_pair"]]
        played = [PointingResult(**of_image["pointing"]) for of_image in figures]
        nouns = sum(game.nouns for game in played)
        pointing = PointingResult(
            hits=sum(game.hits for game in played),
            nouns=nouns,
            chance=sum(game.chance * game.nouns for game in played) / max(1, nouns),
        )
        return {
            "true_captions": _share([of_image["true"] for of_image in figures]),
            "complete_captions": _share([of_image["complete"] for of_image in figures]),
            "true_captions_held_out_pairs": _share([of_image["true"] for of_image in held_out]),
            "images_with_held_out_pairs": len(held_out),
            "pointing_game": pointing.accuracy,
            "pointing_chance": pointing.chance,
            "pointing": asdict(pointing),
        }

    def report(self, summary: Mapping[str, Any], folder: Path) -> list[str]:
        """Nothing beyond the table."""
        return []


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
