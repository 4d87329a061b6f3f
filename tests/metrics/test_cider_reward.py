from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError, UsageError
from captioner.metrics.cider import cider_d
from captioner.metrics.cider_reward import CiderReward
from captioner.metrics.document_frequency import document_frequency
from captioner.metrics.ngrams import count_ngrams
from captioner.metrics.ptb import tokenize

REFERENCES = {
    "a.jpg": ["A dog runs on the beach.", "A brown dog, running"],
    "b.jpg": ["Two children don't play in a park.", "Kids playing", "children in a park"],
    "c.jpg": ["A red bus on a street"],
}
# 0 padding, 1 start, 2 end, 3 unknown; the others stand for words, one of them for two and one for none.
WORDS = [
    "",
    "",
    "",
    "<unk>",
    ",",
    "a",
    "dog",
    "runs",
    "on",
    "the",
    "beach",
    "don't",
    "children",
    "park",
    "zebra",
]
EOS = 2


def decoded(row: list[int]) -> str:
    return " ".join(WORDS[token] for token in row[: row.index(EOS) if EOS in row else None])


@given(st.lists(st.lists(st.integers(0, len(WORDS) - 1), min_size=7, max_size=7), min_size=6, max_size=6))
def test_equals_the_string_version(rows: list[list[int]]) -> None:
    images = ["b.jpg", "a.jpg", "b.jpg"]
    tokens = np.array(rows).reshape(3, 2, 7)
    rewards = CiderReward(REFERENCES, WORDS, eos_id=EOS)(images, tokens)

    tokenized = {image: [tokenize(caption) for caption in captions] for image, captions in REFERENCES.items()}
    corpus = count_ngrams(
        [tokenize(decoded(row)) for row in rows], [tokenized[image] for image in images for _ in range(2)]
    )
    expected = cider_d(corpus, document_frequency(tokenized.values(), "training"))
    assert rewards.shape == (3, 2)
    assert rewards.ravel().tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_a_reference_itself_earns_more_than_a_part_and_nothing_earns_nothing() -> None:
    tokens = np.array([[[5, 6, 7, 8, 9, 10, 2], [5, 6, 2, 0, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10]]])
    whole, part, nothing = CiderReward(REFERENCES, WORDS, eos_id=EOS)(["a.jpg"], tokens)[0]
    assert whole > part > nothing == 0.0


def test_tokens_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(2, 3\); expected \[1, samples, length\]"):
        CiderReward(REFERENCES, WORDS, eos_id=EOS)(["a.jpg"], np.zeros((2, 3), np.int64))


def test_too_few_images_and_images_without_references_are_refused() -> None:
    with pytest.raises(DataError, match="there are references for 1"):
        CiderReward({"a": ["b"]}, WORDS, eos_id=EOS)
    with pytest.raises(DataError, match="Image b has no reference"):
        CiderReward({"a": ["b"], "b": []}, WORDS, eos_id=EOS)
