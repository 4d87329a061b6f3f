"""Parity of tokens and scores with coco-caption's tools; needs Java and pycocoevalcap."""

from __future__ import annotations

import random
import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.metrics.measure import measure
from captioner.metrics.ptb.ptb_tokenizer import tokenize

pytestmark = pytest.mark.skipif(
    find_spec("pycocoevalcap") is None, reason="pycocoevalcap, the reference, is not installed"
)


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "parity_metrics.py"))


@pytest.mark.skipif(shutil.which("java") is None, reason="java, which runs the reference, is not installed")
def test_difficult_lines_are_tokenized_as_by_java(script: dict[str, Any]) -> None:
    rng = random.Random(3)
    lines = [script["difficult_line"](rng)[0] for _ in range(1500)]
    alike = [
        tokenize(line) == theirs for line, theirs in zip(lines, script["java_tokens"](lines), strict=True)
    ]
    assert np.mean(alike) >= 0.995


def test_scores_are_those_of_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    """On captions of few words, so that n-grams repeat, with empty ones and one to seven references."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    rng = random.Random(0)

    words = ["a", "dog", "cat", "runs", "sits", "on", "the", "red", "mat"]

    def caption() -> str:
        return " ".join(rng.choices(words, k=rng.randint(0, 12)))

    references = {i: [caption() for _ in range(rng.randint(1, 7))] for i in range(150)}
    candidates = {i: [rng.choice([caption(), references[i][0]])] for i in references}
    ours = measure(
        [of_image[0] for of_image in candidates.values()],
        list(references.values()),
        ["BLEU", "ROUGE-L", "CIDEr-D"],
    )
    corpus = ours.corpus(np.ones((1, len(references)), np.int64))
    for names, scorer in (
        ([f"BLEU-{n}" for n in range(1, 5)], Bleu(4)),
        (["ROUGE-L"], Rouge()),
        (["CIDEr-D"], Cider()),
    ):
        value, images = scorer.compute_score(references, candidates)
        for name, of_corpus, of_images in zip(
            names, np.atleast_1d(value), np.atleast_2d(images), strict=True
        ):
            assert corpus[name][0] == pytest.approx(of_corpus, abs=1e-9), name
            assert ours.images[name] == pytest.approx(of_images, abs=1e-9), name
