from __future__ import annotations

import numpy as np
import pytest

from captioner.caption import Caption, Word
from captioner.data.scenes import Scenes, check
from captioner.evaluation.judges.judge import Case
from captioner.evaluation.judges.scenes_judge import ScenesJudge
from captioner.image.geometry import ImageGeometry
from captioner.image.transforms import ImageTransform

IMAGES = 20


def some_caption(text: str, geometry: ImageGeometry, rng: np.random.Generator) -> Caption:
    words = tuple(Word(word, 0.0, 1.0, rng.random((4, 3), dtype=np.float32)) for word in text.split())
    maps = np.stack([word.map for word in words])[:, None, None]
    return Caption(text, words, 0.0, 0.0, maps, geometry)


def test_truth_and_pointing_are_held_against_the_scenes() -> None:
    """Every third caption is true of its scene."""
    test = Scenes("test", image_size=48)
    transform = ImageTransform((48, 48), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    rng = np.random.default_rng(0)
    judge = ScenesJudge(test)
    captions, findings = [], []
    for i in range(IMAGES):
        _, geometry = transform(test.photo(i))
        captions.append(some_caption(test[i if i % 3 == 0 else i + 1].captions[0], geometry, rng))
        findings.append(judge.judge(Case(i, test[i], test.photo(i), captions[i])))
    figures = judge.summary(findings)

    verdicts = [check(caption.text, test.scene(i)) for i, caption in enumerate(captions)]
    assert [finding.figures["reason"] for finding in findings] == [verdict.reason for verdict in verdicts]
    assert figures["true_captions"] == pytest.approx(np.mean([verdict.true for verdict in verdicts]))
    assert 1 / 3 <= figures["true_captions"] < 1
    assert figures["complete_captions"] == pytest.approx(
        np.mean([verdict.true and verdict.complete for verdict in verdicts])
    )
    held_out = [i for i in range(IMAGES) if test.scene(i).has_held_out]
    assert figures["images_with_held_out_pairs"] == len(held_out) > 0
    assert figures["true_captions_held_out_pairs"] == np.mean([verdicts[i].true for i in held_out])
    hits, covered = [], []
    for i, caption in enumerate(captions):
        assert list(findings[i].boxes) == [mention.word_index for mention in verdicts[i].mentions]
        for mention in verdicts[i].mentions:
            # The picture is square, so a cell of the map is an even share of it.
            row, column = np.unravel_index(caption.words[mention.word_index].map.argmax(), (4, 3))
            boxed = np.zeros((48, 48), dtype=bool)
            for k in mention.objects:
                top, left, bottom, right = test.scene(i).objects[k].box
                boxed[top:bottom, left:right] = True
            hits.append(boxed[int((row + 0.5) * 48 / 4), int((column + 0.5) * 48 / 3)])
            covered.append(boxed.mean())
    assert 0 < sum(hits) < len(hits)
    assert figures["pointing"] == {
        "hits": sum(hits),
        "nouns": len(hits),
        "chance": figures["pointing_chance"],
    }
    assert figures["pointing_game"] == pytest.approx(np.mean(hits))
    assert figures["pointing_chance"] == pytest.approx(np.mean(covered))


def test_no_image_has_no_share() -> None:
    figures = ScenesJudge(Scenes("test")).summary([])
    assert (figures["true_captions"], figures["pointing_game"], figures["pointing_chance"]) == (0, 0, 0)
