"""Does captioner.evaluate tell whether overlays are true, in tables and in scores.json?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.bundle import load as load_bundle
from captioner.data.scenes import Scenes
from captioner.evaluation.judges.annotations import CocoTruth, SceneTruth
from captioner.evaluation.judges.attention_judge import HealthJudge
from captioner.evaluation.judges.grounding_judge import GroundingJudge
from captioner.evaluation.judges.judge import Case, Finding
from captioner.evaluation.measures.pointing import NamedBoxes, pointing_game
from captioner.evaluation.split import evaluate_split
from captioner.evaluation.tables import json_of, percent, table
from captioner.explain.attention_stats import attention_stats
from captioner.image.transforms import ImageTransform
from tests.conftest import Finished, compose
from tests.evaluation.judges.test_scenes_judge import some_caption

BASELINES = ("centre of the photo", "average map", "chance")
FEW = ("data.image_size=48", "limit=6", "novelty=false", "page=0", "beam_size=1", "max_length=12")


def test_scenes_are_judged_as_the_pointing_game_judges_them() -> None:
    """References as captions, so that all names something; peaks in boxes as counted by `pointing`."""
    test = Scenes("test", image_size=48)
    transform = ImageTransform((48, 48), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    rng = np.random.default_rng(0)
    judge = GroundingJudge(SceneTruth(test))
    captions, boxes, findings = [], [], []
    for i in range(12):
        _, geometry = transform(test.photo(i))
        captions.append(some_caption(test[i].captions[0], geometry, rng))
        findings.append(judge.judge(Case(i, test[i], test.photo(i), captions[i], {"attention": 0.5})))
        boxes.append([NamedBoxes(word, tuple(of_word)) for word, of_word in findings[i].boxes.items()])
    summary = judge.summary(findings)
    game = pointing_game(captions, boxes)
    (all_words,) = [row for row in summary["rows"] if (row["words"], row["method"]) == ("all", "attention")]
    assert summary["nouns_named_there"] == game.nouns
    assert all_words["peak_in_box"]["value"] == pytest.approx(game.accuracy)
    (chance,) = [row for row in summary["rows"] if (row["words"], row["method"]) == ("all", "chance")]
    assert chance["peak_in_box"]["value"] == pytest.approx(game.chance)
    assert summary["seconds_per_image"] == {"attention": 0.5}
    backwards = judge.summary(findings[::-1])
    assert backwards["rows"] == summary["rows"]
    json.dumps(summary, allow_nan=False)
    lines = judge.report(summary, Path())
    assert any(line.startswith("centre of the photo") for line in lines)
    # What attention costs stands beside its scores, intervals beside all of them.
    estimate = r"-?[0-9.]+ \[-?[0-9.]+, -?[0-9.]+\]"
    (first, *_) = [line for line in lines if line.startswith("attention ")]
    assert re.fullmatch(rf"attention(  +{estimate}){{7}}  +0\.500", first)
    assert any(re.fullmatch(rf"average map(  +{estimate}){{7}} +", line) for line in lines)
    for title in ("peak in mask", "peak in box", "mass in mask", "mass in box", "IoU mask", "IoU box"):
        at = lines.index(f"{title}, by size and word class")
        assert re.split("  +", lines[at + 1].strip()) == ["nouns", "attention", *BASELINES]
        assert re.fullmatch(rf"[^ ].*? +[0-9]+(  +{estimate}){{4}}", lines[at + 2])


def test_shapes_that_are_not_in_a_scene_are_made_up() -> None:
    """A circle that is red where blue was said is absent, but no other object."""
    test = Scenes("test", image_size=48)
    transform = ImageTransform((48, 48), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    shapes = {thing.shape for thing in test.scene(0).objects}
    there, gone = (
        sorted(shapes)[0],
        next(s for s in ("circle", "square", "triangle", "star") if s not in shapes),
    )
    colour = next(
        c
        for c in ("red", "blue", "green")
        if c not in {t.colour for t in test.scene(0).objects if t.shape == there}
    )
    _, geometry = transform(test.photo(0))
    judge = GroundingJudge(SceneTruth(test))
    figures = []
    for text in (f"a {there}", f"a {colour} {there}", f"a {there} and a {gone}"):
        caption = some_caption(text, geometry, np.random.default_rng(0))
        figures.append(judge.judge(Case(0, test[0], test.photo(0), caption)))
    summary = judge.summary(figures)
    assert (summary["CHAIR-i"], summary["CHAIR-s"]) == (1 / 4, 1 / 3)
    assert (summary["nouns_named_there"], summary["nouns_named_absent"]) == (2, 2)
    assert "CHAIR-i_marked_only" not in summary


def test_constant_heads_are_named() -> None:
    maps = np.random.default_rng(0).random((6, 2, 3, 4, 4)) ** 12
    maps[:, 1, 2] = maps[0, 1, 2]
    stats = [attention_stats(["w"] * 3, maps[k : k + 3].astype(np.float32), nouns=()) for k in (0, 3)]
    judge = HealthJudge(CocoTruth())
    summary = judge.summary([Finding({}, kept=one) for one in stats])
    (line,) = judge.report(summary, Path())[1:]
    assert "1 of 6: layer 2 head 3" in line


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_low_attention_is_reported_by_word(share: float) -> None:
    maps = np.full((2, 1, 1, 2, 2), 0.25, dtype=np.float32)
    maps[0] *= share
    judge = HealthJudge(CocoTruth())
    summary = judge.summary(
        [Finding({}, kept=attention_stats(["of", "dog"], maps, nouns=(1,))) for _ in range(10)]
    )
    told = [line for line in judge.report(summary, Path()) if "by word" in line]
    assert told == (["attention on the picture, by word: of 10%, dog 100%"] if share < 1 else [])


def test_one_command_tells_all(
    tiny_model: Path, tmp_path: Path, command: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "model.safetensors"
    own.write_bytes(tiny_model.read_bytes())
    truths = (
        "grounding=true",
        "faithfulness=true",
        "faithfulness_images=3",
        "explain=attention,attention:max",
    )
    done = command("evaluate", f"model={own}", *FEW, *truths)
    assert (done.status, done.err) == (0, "")
    scores: dict[str, Any] = json.loads((tmp_path / "evaluation" / "scores.json").read_text())
    grounding, faithfulness, health = (scores[name] for name in ("grounding", "faithfulness", "health"))
    assert grounding["annotated_images"] == 6
    assert grounding["nouns_named_there"] + grounding["nouns_named_absent"] > 0
    assert 0 < health["map_entropy"] <= 1
    assert health["map_num_heads"] == 2
    if grounding["nouns_named_there"]:
        assert "attention:max" in {row["method"] for row in grounding["rows"]}
        assert "attention by layer and head: peak in box" in done.out
    if faithfulness["followed_nouns"]:
        assert [row["method"] for row in faithfulness["rows"]] == [
            "attention",
            "attention:max",
            "random order",
        ]
        assert (tmp_path / "evaluation" / "faithfulness.svg").read_text().startswith("<svg")
        assert "s a photo" in done.out


def test_methods_that_the_model_cannot_have_are_left_out(
    tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    asked = ("grounding=true", "explain=rollout,attention:best,attention:max", f"output_dir={tmp_path}")
    done = command("evaluate", f"model={tiny_model}", *FEW, *asked)
    assert done.status == 0
    rollout, best = done.err.splitlines()
    assert rollout.startswith("warning: explain=rollout ")
    assert best.startswith("warning: explain=attention:best")
    assert best.endswith("using attention:max")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["grounding"]["seconds_per_image"]) == ["attention:max", "attention"]


def test_attention_is_timed_where_it_was_not_asked_for(
    tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    asked = ("grounding=true", "faithfulness=true", "faithfulness_images=6", "explain=grad_cam")
    search = ("beam_size=3", "constraints.required=[circle]")
    done = command("evaluate", f"model={tiny_model}", *FEW, *asked, *search, f"output_dir={tmp_path}")
    assert done.status == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["grounding"]["seconds_per_image"].keys() == {"grad_cam", "attention"}
    assert scores["faithfulness"]["followed_nouns"] > 0
    cost = {row["method"]: row["seconds_per_image"] for row in scores["faithfulness"]["rows"]}
    assert cost.keys() == {"attention", "grad_cam", "random order"}
    assert min(cost["attention"], cost["grad_cam"]) > 0


def test_the_best_head_is_kept_in_the_model_file(tiny_model: Path, tmp_path: Path) -> None:
    own = tmp_path / "model.safetensors"
    own.write_bytes(tiny_model.read_bytes())
    arguments = (f"model={own}", *FEW, f"output_dir={tmp_path}/out")
    result = evaluate_split(
        compose("evaluate", *arguments, "limit=12", "grounding=true", "keep_best_head=true")
    )
    assert result is not None
    best = result["grounding"]["best_head"]
    assert load_bundle(own).card.get("best_head") == best
    if best is not None:
        again = evaluate_split(compose("evaluate", *arguments, "explain=attention:best"))
        assert again is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("annotations=x.json",), "annotations=x.json: scenes "),
        (("keep_best_head=true",), "keep_best_head=true needs grounding=true"),
        (("faithfulness=true", "faithfulness_images=0"), "faithfulness_images=0 must be a whole number"),
        (("explain=magic",), "explain=magic "),
        (("explain=attention:layer9", "grounding=true"), "explain=attention:layer9"),
    ],
)
def test_wrong_usage_is_refused(
    overrides: tuple[str, ...],
    message: str,
    tiny_model: Path,
    tmp_path: Path,
    command: Callable[..., Finished],
) -> None:
    done = command("evaluate", f"model={tiny_model}", *FEW, f"output_dir={tmp_path}/out", *overrides)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_coco_photos_are_held_against_their_instances(
    real_data: Path, tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    """The tiny model names no category of COCO: what is told is that nothing is named, and of which photos."""
    arguments = (
        "data=coco",
        f"data.root={real_data}/coco",
        "data.test.split=all",
        "limit=3",
        "page=0",
        "novelty=false",
    )
    done = command(
        "evaluate",
        f"model={tiny_model}",
        *arguments,
        f"output_dir={tmp_path}",
        "grounding=true",
        "max_length=5",
    )
    assert done.status == 0
    assert done.err == f"{real_data}/coco/instances.json: 1,248 objects in 154 photos\n"
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["grounding"]["annotated_images"] + scores["grounding"]["images_without_annotations"] == 3
    assert scores["grounding"]["CHAIR-i"] == 0
    assert "no caption names an object" in done.out


@pytest.mark.real
def test_missing_annotations_are_asked_for(
    real_data: Path, tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    arguments = (
        "data=flickr8k",
        f"data.root={real_data}/flickr8k",
        "split=val",
        f"output_dir={tmp_path}/out",
    )
    done = command("evaluate", f"model={tiny_model}", *arguments, "grounding=true")
    assert done.status == 2
    assert "instances.json" in done.err
    assert "annotations=" in done.err


def test_tables_line_up() -> None:
    assert table(["", "b"], [["one", "10"], ["three", "2"]]) == ["        b", "one    10", "three   2"]
    assert percent({"value": 0.241, "low": 0.13, "high": 0.364}) == "24.1 [13.0, 36.4]"
    assert percent({"value": None, "low": None, "high": None}) == "-"
    assert json_of({"a": (float("nan"), 1.5), 2: [float("nan")]}) == {"a": [None, 1.5], "2": [None]}
