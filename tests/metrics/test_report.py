from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.errors import DataError, UsageError
from captioner.metrics.document_frequency import document_frequency
from captioner.metrics.report import score_captions

REFERENCES = {
    "1": ["A dog runs on the beach.", "A brown dog running"],
    "2": ["Two children play in a park.", "Kids playing"],
    "3": ["A red bus on a street", "A bus drives by"],
    "10": ["A man rides a wave.", "A surfer in the ocean"],
}
CANDIDATES = {"1": "a dog runs", "2": "children in a park", "3": "a red car", "10": "a man on a surfboard"}
QUICK = ("BLEU", "ROUGE-L", "CIDEr-D", "CIDEr")


def test_the_order_of_images_does_not_change_scores() -> None:
    first = score_captions(CANDIDATES, REFERENCES, metrics=QUICK)
    ids = list(CANDIDATES)
    for seed in range(5):
        random.Random(seed).shuffle(ids)
        again = score_captions(
            {i: CANDIDATES[i] for i in ids}, {i: REFERENCES[i] for i in reversed(ids)}, metrics=QUICK
        )
        assert again == first


def test_names_and_images_are_as_documented() -> None:
    scores = score_captions(CANDIDATES, REFERENCES, metrics=QUICK)
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "CIDEr"]
    assert list(scores.corpus) == names
    assert list(scores.images) == ["1", "10", "2", "3"]
    assert all(list(values) == names for values in scores.images.values())
    assert scores.corpus["CIDEr-D"] == pytest.approx(
        sum(values["CIDEr-D"] for values in scores.images.values()) / 4
    )
    written = json.loads(scores.as_json())
    assert written == {"corpus": scores.corpus, "images": scores.images, "signature": scores.signature}


def test_the_signature_differs_where_scores_are_not_comparable() -> None:
    signature = score_captions(CANDIDATES, REFERENCES, metrics=QUICK).signature
    assert "\n" not in signature
    for part in (
        "tok:ptb",
        "BLEU:4-closest",
        "CIDEr-D:n4-sigma6",
        "df:references",
        "images:4",
        "refs:8",
        "split:",
    ):
        assert part in signature
    other_references = REFERENCES | {"3": ["A red bus on a street", "A bus drives past"]}
    elsewhere = document_frequency([["a b"], ["c"]], "coco")
    signatures = {
        signature,
        score_captions(CANDIDATES, other_references, metrics=QUICK).signature,
        score_captions(CANDIDATES, REFERENCES, metrics=QUICK, frequency=elsewhere).signature,
        score_captions(CANDIDATES, REFERENCES, metrics=("BLEU",)).signature,
        score_captions(CANDIDATES, REFERENCES, metrics=QUICK, decoding="beam_size=3").signature,
    }
    assert len(signatures) == 5
    assert score_captions(CANDIDATES | {"1": "a cat"}, REFERENCES, metrics=QUICK).signature == signature


@pytest.mark.parametrize("caption", ["", "  ", ". , !", "...", "\u2028"])
def test_a_candidate_without_words_scores_zero(caption: str) -> None:
    scores = score_captions(CANDIDATES | {"1": caption}, REFERENCES, metrics=(*QUICK, "METEOR"))
    assert all(value < 1e-12 for value in scores.images["1"].values())
    assert all(math.isfinite(value) for value in scores.corpus.values())


def test_other_scripts_and_emoji_are_scored_as_words() -> None:
    references = {"1": ["собака бежит", "犬が走る"], "2": ["un café 😀 noir", "α β"]}
    scores = score_captions({"1": "собака бежит", "2": "un café noir 🏂"}, references, metrics=QUICK)
    assert scores.images["1"]["ROUGE-L"] == pytest.approx(1.0)
    assert scores.images["2"]["BLEU-1"] == pytest.approx(1.0)


def test_cider_of_a_single_image_is_undefined() -> None:
    scores = score_captions({"1": "a dog"}, {"1": ["a dog"]}, metrics=QUICK)
    assert math.isnan(scores.corpus["CIDEr-D"])
    assert json.loads(scores.as_json())["corpus"]["CIDEr-D"] is None


def test_a_candidate_without_references_is_named() -> None:
    with pytest.raises(DataError, match=r"2 .*no reference \(4, 5\).*strict=false"):
        score_captions(CANDIDATES | {"4": "x", "5": "y"}, REFERENCES | {"5": []}, metrics=QUICK)


def test_references_without_a_candidate_are_named() -> None:
    fewer = {image: caption for image, caption in CANDIDATES.items() if image != "10"}
    with pytest.raises(DataError, match=r"1 .*no candidate \(10\)"):
        score_captions(fewer, REFERENCES, metrics=QUICK)


def test_without_strict_complete_images_are_scored_and_others_listed() -> None:
    fewer = {image: caption for image, caption in CANDIDATES.items() if image != "10"}
    scores = score_captions(fewer | {"7": "x"}, REFERENCES, metrics=QUICK, strict=False)
    assert scores.left_out == ("10", "7")
    assert (
        scores.images
        == score_captions(fewer, {image: REFERENCES[image] for image in fewer}, metrics=QUICK).images
    )


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        (CANDIDATES, {}, "reference"),
        (CANDIDATES, {"1": []}, "reference"),
        ({}, REFERENCES, "candidate"),
        ({"a.jpg": "x"}, REFERENCES, r"a\.jpg\).*1, 10 and 2 more\).*in common"),
        (CANDIDATES | {"1": None}, REFERENCES, "image 1 is None"),
        (CANDIDATES, REFERENCES | {"2": ["a", 3]}, "image 2 is 3"),
    ],
)
def test_captions_that_cannot_be_scored_are_refused(candidates: dict, references: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(DataError, match=message):
        score_captions(candidates, references, metrics=QUICK)


def test_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"ROUGE-l.*METEOR.*did you mean ROUGE-L"):
        score_captions(CANDIDATES, REFERENCES, metrics=("ROUGE-l",))


def test_scoring_imports_no_torch() -> None:
    code = "import sys, captioner.score, captioner.metrics.significance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.real
def test_a_thousand_coco_images_score_as_by_coco_caption(real_data: Path) -> None:
    recorded = json.loads((real_data / "metrics" / "coco_fakecap_1000.json").read_text())
    candidates = {image: captions[0] for image, captions in recorded["candidates"].items()}
    scores = score_captions(candidates, recorded["references"], metrics=("BLEU", "ROUGE-L", "CIDEr-D"))
    names = {f"BLEU-{n}": f"Bleu_{n}" for n in range(1, 5)} | {"ROUGE-L": "ROUGE_L", "CIDEr-D": "CIDEr"}
    for ours, theirs in names.items():
        assert scores.corpus[ours] == pytest.approx(recorded["corpus"][theirs], abs=1e-9)
        values = [scores.images[image][ours] for image in recorded["keys"]]
        assert values == pytest.approx(recorded["per_image"][theirs], abs=1e-9)
