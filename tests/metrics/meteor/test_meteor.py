from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from captioner.metrics.meteor import meteor as module
from captioner.metrics.meteor.meteor import meteor
from captioner.metrics.meteor.meteor_tables import MeteorTables, installed_tables

# java -jar meteor-1.5.jar - - -stdio -l en -norm, METEOR 1.5 in pycocoevalcap 1.2
GOLDEN = [
    ("a cat sits on the mat", ["a cat sits on the mat"], 1.0),
    ("a cat sat on the mat", ["a cat sits on a mat", "dogs run"], 0.4337389988176927),
    (
        "man riding a wave on a surfboard",
        ["a man surfing a wave", "a surfer rides a big wave", "a person on a surfboard"],
        0.3821000345957043,
    ),
    ("two kids playing in the park", ["children play in a park"], 0.35129069314646355),
    (
        "a couple of people on bikes",
        ["a few persons riding bicycles", "two men ride"],
        0.19986542933989246,
    ),
    ("a hot dog in front of a car", ["a frankfurter before an automobile"], 0.37143077300095617),
    ("a t-shirt from the u.s.", ["a shirt from the us"], 0.4766362624370249),
    ("it is n't the dog 's ball", ["it 's not the ball of a dog"], 0.31690563729204785),
    ("the house by the lake", ["the house on the lake"], 0.424595255130956),
    ("zz", ["zz zz"], 0.2162162162162162),
    ("a dog", ["completely different words"], 0.0),
    ("", ["a b"], 0.0),
    ("a b", [""], 0.0),
]


@pytest.fixture(scope="module")
def tables() -> MeteorTables:
    found = installed_tables()
    if found is None:
        pytest.skip("pycocoevalcap, which has METEOR's tables, is not installed")
    return found


def test_images_score_as_by_the_jar(tables: MeteorTables) -> None:
    scored = meteor([c for c, _, _ in GOLDEN], [r for _, r, _ in GOLDEN], tables)
    assert scored.name == "METEOR"
    assert scored.images.tolist() == pytest.approx([value for _, _, value in GOLDEN], abs=1e-9)


def test_a_corpus_scores_as_by_the_jar(tables: MeteorTables) -> None:
    """Sums over images; a caption that equals its reference counts no chunk, which only the jar can tell."""
    pairs = [
        (candidate, references) for candidate, references, _ in GOLDEN if candidate and references != [""]
    ]
    scored = meteor([c for c, _ in pairs], [r for _, r in pairs], tables)
    corpus = scored.corpus(np.ones((1, len(pairs)), np.int64))
    assert corpus.tolist() == pytest.approx([0.35083241422138434], abs=1e-9)


def test_without_tables_the_value_has_another_name_and_is_no_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed_tables", lambda: None)
    scored = meteor(["a dog sits", "kids play"], [["a dogs sit"], ["children play"]])
    assert scored.name == "METEOR[exact+stem]"
    # One stem of three words: a, and dog and sit by their stems; then "play" of two words.
    assert scored.images[0] == pytest.approx((1 + 0.6 + 0.6) / 3)
    assert scored.images[1] == pytest.approx(0.5 * (1 - 0.6))


def test_a_draw_with_an_image_twice_is_the_corpus_with_that_image_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "installed_tables", lambda: None)
    pairs = [("a b c", ["a c b"]), ("x y", ["x z"])]
    scored = meteor([c for c, _ in pairs], [r for _, r in pairs])
    twice = meteor([pairs[0][0]] * 2, [pairs[0][1]] * 2)
    assert scored.corpus(np.array([[2, 0]])) == twice.corpus(np.array([[1, 1]]))


@pytest.mark.real
def test_a_thousand_coco_images_score_as_by_the_jar(real_data: Path, tables: MeteorTables) -> None:
    recorded = json.loads((real_data / "metrics" / "coco_fakecap_1000.json").read_text())
    images = recorded["keys"]
    scored = meteor(
        [recorded["tokenized_candidates"][image][0] for image in images],
        [recorded["tokenized_references"][image] for image in images],
        tables,
    )
    difference = np.abs(scored.images - recorded["per_image"]["METEOR"])
    assert (difference < 0.005).mean() >= 0.99
    corpus = scored.corpus(np.ones((1, len(images)), np.int64))[0]
    assert corpus == pytest.approx(recorded["corpus"]["METEOR"], abs=0.0005)
