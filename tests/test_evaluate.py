"""The command `captioner.evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioner.caption import Caption
from captioner.data.scenes import Scene, Scenes
from captioner.errors import DataError, UsageError
from captioner.evaluate import evaluate
from captioner.evaluation.judges.judge import Case
from captioner.evaluation.judges.scenes_judge import ScenesJudge
from captioner.evaluation.split import evaluate_split
from captioner.metrics.corpus_diversity import corpus_diversity
from captioner.metrics.report import score_captions
from captioner.pipeline import load
from captioner.score import score
from tests.conftest import Finished, compose
from tests.data.shards.scene_shards import foreign

LIMIT = 20


def evaluated(model: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    usual = ("data.image_size=48", f"limit={LIMIT}", f"output_dir={folder}", "metrics=[BLEU,ROUGE-L,CIDEr-D]")
    cfg = compose("evaluate", f"model={model}", "data.train.size=48", *usual, *overrides)
    returned = evaluate_split(cfg)
    written: dict[str, Any] = json.loads((folder / "scores.json").read_text(), parse_constant=refuse_constant)
    assert json.loads(json.dumps(returned)) == written
    return written


def refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


@pytest.fixture(scope="module")
def result(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("evaluation")
    return evaluated(tiny_model, folder, "page=3", "beam_size=2", "max_length=12"), folder


@pytest.fixture(scope="module")
def again(tiny_model: Path) -> list[tuple[Scene, Caption]]:
    """The same images captioned by the library, one by one."""
    test, pipeline = Scenes("test", image_size=48), load(tiny_model)
    return [
        (test.scene(i), pipeline.caption(test.photo(i), beam_size=2, max_length=12)[0]) for i in range(LIMIT)
    ]


def test_scores_json_holds_settings_and_signature(
    result: tuple[dict[str, Any], Path], tiny_model: Path
) -> None:
    scores, _ = result
    assert (scores["images"], scores["left_out"], scores["split"]) == (LIMIT, 0, "test")
    assert scores["model"] == str(tiny_model)
    assert scores["data"]["test"]["_target_"] == "captioner.data.scenes.dataset.Scenes"
    assert {"BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D"} <= scores["corpus"].keys()
    assert f"|images:{LIMIT}|" in scores["signature"]
    assert "beam_size=2, max_length=12, length_penalty=0.7" in scores["signature"]
    assert scores["images_per_second"] > 0


def test_the_captions_are_those_of_the_library(
    result: tuple[dict[str, Any], Path], again: list[tuple[Scene, Caption]]
) -> None:
    records = [json.loads(line) for line in (result[1] / "captions.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == [f"scenes-test-0-{i:06d}" for i in range(LIMIT)]
    assert [record["caption"] for record in records] == [caption.text for _, caption in again]
    for record, (_, caption) in zip(records, again, strict=True):
        assert record["score"] == pytest.approx(caption.score, abs=1e-4)
        assert record["CIDEr-D"] >= 0


def test_the_figures_are_those_of_the_captions(
    result: tuple[dict[str, Any], Path], again: list[tuple[Scene, Caption]]
) -> None:
    scores, _ = result
    test = Scenes("test")
    texts = {test[i].id: caption.text for i, (_, caption) in enumerate(again)}
    expected = score_captions(
        texts, {test[i].id: test[i].captions for i in range(LIMIT)}, metrics=("BLEU", "ROUGE-L", "CIDEr-D")
    )
    for name, value in expected.corpus.items():
        assert scores["corpus"][name] == pytest.approx(value, rel=1e-9), name
    training = [caption for i in range(48) for caption in Scenes("train")[i].captions]
    found = asdict(corpus_diversity(list(texts.values()), training))
    assert found.pop("captions") == LIMIT
    assert scores["diversity"] == found
    assert (scores["vocabulary"]["unknown_word_rate"] > 0) == (
        scores["vocabulary"]["images_with_unknown_words"] > 0
    )


@pytest.mark.parametrize(
    ("override", "note"),
    [
        ("data.train.size=47", "the model was trained on 48 images, and split=train has 47"),
        ("data.name=pictures", "the model was trained on scenes, and this is pictures"),
        ("+data.train.colour=red", "does not take these settings"),
    ],
)
def test_novelty_is_left_out_without_the_training_captions(
    override: str, note: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("limit=2", "beam_size=1", "max_length=5", "page=0")
    scores = evaluated(tiny_model, tmp_path, *few, override)
    assert scores["diversity"]["novel"] is None
    assert len(scores["notes"]) == 1
    assert note in scores["notes"][0]
    assert scores["notes"][0] in capsys.readouterr().err


def test_captions_can_be_scored_again_with_the_same_numbers(
    result: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    test = Scenes("test")
    lines = [
        json.dumps({"image": test[i].id, "caption": caption})
        for i in range(LIMIT)
        for caption in test[i].captions
    ]
    (tmp_path / "references.jsonl").write_text("\n".join(lines))
    settings = (f"candidates={result[1]}/captions.jsonl", f"references={tmp_path}/references.jsonl")
    score(compose("score", *settings, f"output_dir={tmp_path}/out", "metrics=[BLEU,ROUGE-L,CIDEr-D]"))
    again = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert again["corpus"] == result[0]["corpus"]
    assert f"{again['signature']}|decoding:" in result[0]["signature"]


def test_meteor_without_its_tables_has_another_name(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.metrics.meteor.meteor.installed_tables", lambda: None)
    few = ("limit=2", "beam_size=1", "max_length=5", "page=0", "metrics=[METEOR]")
    assert list(evaluated(tiny_model, tmp_path, *few)["corpus"]) == ["METEOR[exact+stem]"]


def test_scores_json_holds_the_findings_of_the_scenes(
    result: tuple[dict[str, Any], Path], again: list[tuple[Scene, Caption]]
) -> None:
    test = Scenes("test", image_size=48)
    judge = ScenesJudge(test)
    found = [judge.judge(Case(i, test[i], test.photo(i), caption)) for i, (_, caption) in enumerate(again)]
    figures = judge.summary(found)
    said = dict(result[0]["scenes"])
    assert said.pop("pointing") == pytest.approx(figures.pop("pointing"))
    assert said == pytest.approx(figures)
    records = [json.loads(line) for line in (result[1] / "captions.jsonl").read_text().splitlines()]
    assert [record["scenes"]["reason"] for record in records] == [
        of_image.figures["reason"] for of_image in found
    ]


def test_the_page_shows_the_worst_and_the_best(result: tuple[dict[str, Any], Path]) -> None:
    page = (result[1] / "index.html").read_text(encoding="utf-8")
    records = [json.loads(line) for line in (result[1] / "captions.jsonl").read_text().splitlines()]
    ranked = sorted(records, key=lambda record: record["CIDEr-D"])
    shown = [record for record in ranked if f">{record['image']} · CIDEr-D" in page]
    assert shown == [ranked[0], ranked[1], ranked[-1]]
    assert page.count('<section class="entry"') == 3


@pytest.mark.parametrize(("page", "entries"), [(0, None), (1, 1), (2, 2), (50, 4)])
def test_a_page_has_as_many_photos_as_asked_for(
    page: int, entries: int | None, tiny_model: Path, tmp_path: Path
) -> None:
    evaluated(tiny_model, tmp_path, f"page={page}", "limit=4", "beam_size=1", "max_length=5")
    if entries is None:
        assert not (tmp_path / "index.html").exists()
    else:
        assert (tmp_path / "index.html").read_text().count('<section class="entry"') == entries


def test_an_undefined_score_of_a_single_image_is_null(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = evaluated(tiny_model, tmp_path, "limit=1", "beam_size=1", "max_length=5")
    assert scores["corpus"]["CIDEr-D"] is None
    assert ["CIDEr-D", "undefined"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("override", "tokens"),
    [
        ("split=dev", ["split=dev", "train, val, test"]),
        ("split=null", ["split=None"]),
        ("limit=0", ["limit=0"]),
        ("limit=-1", ["limit=-1"]),
        ("limit=few", ["limit=few"]),
        ("limit=2.5", ["limit=2.5"]),
        ("page=-1", ["page=-1"]),
        ("metrics=[FAME]", ["FAME", "BLEU, METEOR"]),
        ("metrics=[]", ["metrics", "BLEU, METEOR"]),
        ("threads=0", ["threads=0"]),
        ("processes=0", ["processes=0"]),
        ("processes=two", ["processes=two"]),
        ("batch_size=0", ["batch_size=0"]),
        ("beam_size=0", ["beam_size=0"]),
        ("model=nowhere", ["nowhere"]),
        ("data.test.size=0", ["scenes", "size", "0"]),
        ("data.test._target_=os.system", ["_target_", "os.system"]),
        ("data.test.sise=3", ["sise"]),
    ],
)
def test_wrong_settings_are_refused_in_one_line_that_names_them(
    override: str, tokens: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    key = "+" if "sise" in override else ""
    cfg = compose("evaluate", f"model={tiny_model}", f"output_dir={tmp_path}/out", f"{key}{override}")
    with pytest.raises(UsageError) as refused:
        evaluate(cfg)
    message = str(refused.value)
    assert [token for token in tokens if token not in message] == []
    assert "\n" not in message
    assert not list(tmp_path.glob("out/*"))


def test_an_unknown_split_ends_in_status_2(
    tiny_model: Path, tmp_path: Path, command: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("evaluate", f"model={tiny_model}", "split=dev")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: split=dev ")
    assert done.err.count("\n") == 1


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    """Three test photos in Flickr8k's layout, the second cut short."""
    root = tmp_path / "flickr8k"
    (root / "images").mkdir(parents=True)
    names = ["a.jpg", "b.jpg", "c.jpg"]
    for index, name in enumerate(names):
        Image.fromarray(Scenes("val").photo(index).pixels).save(root / "images" / name)
    whole = (root / "images" / "b.jpg").read_bytes()
    (root / "images" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    rows = (
        f"{name}#{k}\t{caption}\n"
        for i, name in enumerate(names)
        for k, caption in enumerate(Scenes("val")[i].captions)
    )
    (root / "Flickr8k.token.txt").write_text("".join(rows))
    for split in ("train", "dev", "test"):
        (root / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names))
    return root


def test_a_photo_that_cannot_be_read_is_reported_and_left_out(
    flickr8k: Path, tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    arguments = (f"model={tiny_model}", "data=flickr8k", f"data.root={flickr8k}", "data.images=images")
    done = command("evaluate", *arguments, f"output_dir={tmp_path}/out", "page=2", "max_length=5")
    assert done.status == 1
    first, last, _ = done.err.splitlines()
    assert first.startswith("error: ")
    assert "b.jpg" in first
    assert last == "1 images could not be read and are left out"
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (scores["images"], scores["left_out"]) == (2, 1)
    assert "scenes" not in scores
    records = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == ["a.jpg", "c.jpg"]
    alone = load(tiny_model).caption(flickr8k / "images" / "c.jpg", max_length=5)[0]
    assert records[1]["caption"] == alone.text
    assert "c.jpg" in (tmp_path / "out" / "index.html").read_text()

    for name in ("a.jpg", "c.jpg"):
        (flickr8k / "images" / name).write_text("no photo")
    done = command("evaluate", *arguments, f"output_dir={tmp_path}/none")
    assert done.status == 2
    assert done.err.splitlines()[-1] == "error: none of the 3 images of split=test can be read"


def test_shards_that_repeat_keys_are_scored_in_full(tiny_model: Path, tmp_path: Path) -> None:
    overrides = ("data=shards", f"data.root={tmp_path}", f"model={tiny_model}", "split=val", "page=0")
    cfg = compose("evaluate", *overrides, f"output_dir={tmp_path / 'out'}", "novelty=false", "metrics=[BLEU]")
    for number in range(2):
        foreign(tmp_path / f"val-{number}.tar", {f"{k}": {"caption": f"dog {number} {k}"} for k in range(4)})
    scores = evaluate_split(cfg)
    assert scores is not None
    assert scores["images"] == 8
    foreign(tmp_path / "val-1.tar", {"9": {"caption": "a dog", "id": "val-0/0"}})
    with pytest.raises(DataError, match=r"1 ids of the split stand for several .*val-0/0: images 0, 4"):
        evaluate_split(cfg)


def test_shards_with_samples_without_caption_are_scored_without_them(
    tiny_model: Path, tmp_path: Path
) -> None:
    foreign(
        tmp_path / "val-0.tar", {"0": {"caption": " "}, "1": {"caption": "a dog"}, "2": {"caption": "a cat"}}
    )
    overrides = ("data=shards", f"data.root={tmp_path}", f"model={tiny_model}", "split=val", "page=2")
    more = (f"output_dir={tmp_path / 'out'}", "novelty=false", "metrics=[BLEU]")
    with pytest.raises(
        DataError, match=r"1 of the images have no reference caption .*val-0/0.*data\.on_bad=skip"
    ):
        evaluate_split(compose("evaluate", *overrides, *more))
    scores = evaluate_split(compose("evaluate", *overrides, *more, "data.on_bad=skip"))
    assert scores is not None
    assert (scores["images"], scores["left_out"]) == (2, 0)
    assert any("1 image without caption" in note or "1 empty caption" in note for note in scores["notes"])
    records = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == ["val-0/1", "val-0/2"]
