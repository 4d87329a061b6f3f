from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REFERENCES = {
    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)],
    "annotations": [
        {"image_id": 1, "id": 1, "caption": "A dog runs on the beach."},
        {"image_id": 1, "id": 2, "caption": "A brown dog running"},
        {"image_id": 2, "id": 3, "caption": "Two children play."},
        {"image_id": 3, "id": 4, "caption": "A red bus"},
    ],
}
CANDIDATES = {"1": "a dog on the beach", "2": "children play", "3": "a bus"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "refs.json").write_text(json.dumps(REFERENCES))
    results = [{"image_id": int(image), "caption": text} for image, text in CANDIDATES.items()]
    (tmp_path / "a.json").write_text(json.dumps(results))
    lines = [json.dumps({"image": f"photos/{image}.jpg", "caption": "a dog"}) for image in CANDIDATES]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "none.json").write_text('{"images": [], "annotations": []}')
    return tmp_path


def score(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captioner.score", *settings]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment())


def environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def test_a_results_file_is_scored_into_a_table_and_a_file(folder: Path) -> None:
    done = score(folder, "candidates=a.json", "references=refs.json", "output_dir=out")
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "out" / "scores.json").read_text())
    assert list(written) == ["corpus", "images", "signature"]
    assert set(written["images"]) == {"1", "2", "3"}
    for name, value in written["corpus"].items():
        assert f"{name:<20}{value:>9.4f}" in done.stdout
    assert written["signature"] in done.stdout
    assert "images:3|refs:4" in written["signature"]


def test_two_files_are_compared_even_if_they_name_images_differently(folder: Path) -> None:
    (folder / "c.jsonl").write_text((folder / "b.jsonl").read_text().replace("a dog", "a bus"))
    done = score(
        folder,
        "candidates=[b.jsonl,c.jsonl]",
        "references=refs.json",
        "output_dir=out",
        "metrics=[BLEU,ROUGE-L]",
    )
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout
    differences = json.loads((folder / "out" / "differences.json").read_text())
    first, second = (
        json.loads((folder / "out" / name).read_text())["corpus"]
        for name in ("scores.json", "scores_second.json")
    )
    for name, found in differences.items():
        assert found["value"] == pytest.approx(second[name] - first[name])
        assert found["low"] <= found["value"] <= found["high"]


def test_kept_document_frequencies_give_the_same_and_are_told_of(folder: Path) -> None:
    settings = ("candidates=a.json", "references=refs.json", "metrics=[CIDEr-D,CIDEr]")
    kept = score(folder, *settings, "output_dir=one", "save_frequency=few images.json.gz")
    used = score(folder, *settings, "output_dir=two", "frequency=few images.json.gz")
    assert (kept.returncode, used.returncode) == (0, 0), kept.stderr + used.stderr
    one, two = (json.loads((folder / name / "scores.json").read_text()) for name in ("one", "two"))
    assert two["images"] == one["images"]
    assert "|df:references|" in one["signature"]
    assert "|df:few images.json.gz-3|" in two["signature"]


def test_not_strict_says_how_many_images_were_left_out(folder: Path) -> None:
    (folder / "few.csv").write_text("image,caption\n1,a dog\n2,children\n9,x\n")
    settings = ("candidates=few.csv", "references=refs.json", "output_dir=out", "metrics=[BLEU]")
    refused = score(folder, *settings)
    assert refused.returncode == 2
    assert "1 of the images have a candidate but no reference (9)" in refused.stderr
    done = score(folder, *settings, "strict=false")
    assert done.returncode == 0, done.stderr
    assert "2 images were left out" in done.stdout


def test_captions_without_words_score_nothing_and_are_named(folder: Path) -> None:
    lines = [
        json.dumps({"image": i, "caption": text}) for i, text in ((1, ""), (2, " . , !"), (3, "a bus 🚌"))
    ]
    (folder / "odd.jsonl").write_text("\n".join(lines))
    done = score(
        folder, "candidates=odd.jsonl", "references=refs.json", "output_dir=out", "metrics=[BLEU,CIDEr-D]"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("2 captions have no word, or only punctuation, and score 0 (1, 2)")
    images = json.loads((folder / "out" / "scores.json").read_text())["images"]
    assert set(images["1"].values()) | set(images["2"].values()) == {0.0}
    assert images["3"]["BLEU-1"] > 0


def test_several_captions_of_each_image_are_measured_for_their_variety(folder: Path) -> None:
    said = {1: ["a dog", "a dog"], 2: ["children play", "two kids"], 3: ["a bus", "the red bus"]}
    lines = [
        json.dumps({"image": f"{i}.jpg", "caption": text}) for i, texts in said.items() for text in texts
    ]
    (folder / "samples.jsonl").write_text("\n".join(lines))
    settings = ("candidates=samples.jsonl", "references=refs.json", "output_dir=out")
    done = score(folder, *settings, "metrics=[self-CIDEr]")
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "out" / "scores.json").read_text())
    values = [written["images"][f"{i}.jpg"]["self-CIDEr"] for i in said]
    assert values[0] == pytest.approx(0)
    assert values[1] == pytest.approx(1)
    assert 0 < values[2] < 1
    assert written["corpus"]["self-CIDEr"] == pytest.approx(sum(values) / 3)
    assert written["corpus"]["distinct-1"] == pytest.approx(9 / 13)
    assert "|self-CIDEr:n4|df:references|images:3|refs:4|" in written["signature"]
    assert written["signature"] in done.stdout

    (folder / "samples.jsonl").write_text("\n".join(lines[:-1]))
    done = score(folder, *settings, "metrics=[self-CIDEr]")
    assert done.returncode == 2
    assert "1 of the images have a single caption (3.jpg)" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("candidates=nowhere.json", "references=refs.json"), "nowhere.json cannot be read"),
        (("candidates=a.json", "references=a.txt"), "a.txt cannot be read"),
        (("candidates=a.json",), "references"),
        (
            ("candidates=a.json", "references=refs.json", "metrics=[BLEU,self-CIDEr]"),
            "metrics=[self-CIDEr] and one file",
        ),
        (("candidates=a.json", "references=refs.json", "metrics=[]"), "metrics is empty"),
        (("candidates=a.json", "references=none.json"), "none.json has no reference caption"),
        (("candidates=a.json", "references=refs.json", "metrics=[FAME]"), "unknown metric FAME"),
        (
            ("candidates=[a.json,a.json,a.json]", "references=refs.json"),
            "give one to score, or two to compare",
        ),
        (
            ("candidates=a.json", "references=refs.json", "frequency=a.json"),
            "not a file of document frequencies",
        ),
    ],
)
def test_wrong_usage_ends_in_one_sentence_and_status_2(
    folder: Path, settings: tuple[str, ...], message: str
) -> None:
    done = score(folder, *settings)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_shows_examples_without_importing_torch(folder: Path) -> None:
    code = (
        "import sys, runpy\nsys.argv = ['score', '--help']\n"
        "try: runpy.run_module('captioner.score', run_name='__main__')\n"
        "except SystemExit: pass\nsys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0
    assert "python -m captioner.score candidates=results.json references=" in done.stdout
