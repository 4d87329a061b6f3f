from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from captioner.errors import DataError, UsageError
from captioner.metrics.bleu import bleu
from captioner.metrics.caption_reward import REWARDS, CaptionReward
from captioner.metrics.cider import cider_d
from captioner.metrics.document_frequency import document_frequency
from captioner.metrics.ngrams import count_ngrams
from captioner.metrics.ptb.ptb_tokenizer import tokenize
from captioner.metrics.token_words import DecodedWords, TableWords

REFERENCES = {
    "a.jpg": ["A dog runs on the beach.", "A brown dog, running"],
    "b.jpg": ["Two children don't play in a park.", "Kids playing", "children in a park"],
    "c.jpg": ["A red bus on a street"],
}
# 0 padding, 1 BOS, 2 EOS, 3 unknown; the others are words, one of them two words and one none.
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
ALL = {"CIDEr-D": 1.0, "BLEU-4": 0.5, "length": 0.25}


def decoded(row: Sequence[int]) -> str:
    return " ".join(WORDS[token] for token in row[: row.index(EOS) if EOS in row else None])


def by_table(weights: dict[str, float] = ALL, *, count_end: bool = False) -> CaptionReward:
    return CaptionReward(REFERENCES, TableWords(WORDS, eos_id=EOS, count_end=count_end), weights=weights)


def by_decoding(weights: dict[str, float] = ALL, *, count_end: bool = False) -> CaptionReward:
    return CaptionReward(REFERENCES, DecodedWords(decoded, eos_id=EOS, count_end=count_end), weights=weights)


def length_reward(caption: str, image: str) -> float:
    length = len(tokenize(caption).split())
    lengths = sorted(len(tokenize(reference).split()) for reference in REFERENCES[image])
    closest = min(lengths, key=lambda other: abs(other - length))
    return max(0.0, 1 - abs(length - closest) / closest)


rows_of_tokens = st.lists(
    st.lists(st.integers(0, len(WORDS) - 1), min_size=7, max_size=7), min_size=6, max_size=6
)


@given(rows_of_tokens, st.booleans())
def test_equals_the_metrics_on_the_decoded_captions(rows: list[list[int]], count_end: bool) -> None:
    """Where EOS counts, captions end with a word that occurs nowhere else."""
    images = ["b.jpg", "a.jpg", "b.jpg"]
    tokens = np.array(rows).reshape(3, 2, 7)

    def written(text: str, has_end: bool) -> str:
        return " ".join([*tokenize(text).split(), *["<end>"] * (count_end and has_end)])

    references = {
        image: [written(caption, True) for caption in captions] for image, captions in REFERENCES.items()
    }
    corpus = count_ngrams(
        [written(decoded(row), EOS in row) for row in rows],
        [references[image] for image in images for _ in range(2)],
    )
    expected: dict[str, Sequence[float] | NDArray[np.float64]] = {
        "CIDEr-D": cider_d(corpus, document_frequency(references.values(), "training")),
        "BLEU-4": bleu(corpus).images()[:, 3],
        "length": [
            length_reward(decoded(row), image) for image, row in zip(np.repeat(images, 2), rows, strict=True)
        ],
    }
    for reward in (by_table(count_end=count_end), by_decoding(count_end=count_end)):
        found = reward(images, tokens)
        for name in REWARDS:
            assert found.parts[name].shape == (3, 2)
            assert found.parts[name].ravel().tolist() == pytest.approx(list(expected[name]), abs=1e-9), name
        total = sum(weight * found.parts[name] for name, weight in ALL.items())
        np.testing.assert_allclose(found.total, total, rtol=0, atol=1e-12)


def test_a_reference_gets_more_than_a_part_of_it_and_an_empty_caption_gets_0() -> None:
    tokens = np.array([[[5, 6, 7, 8, 9, 10, 2], [5, 6, 2, 0, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10]]])
    for weights in ({"CIDEr-D": 1.0}, {"BLEU-4": 1.0}):
        whole, part, nothing = by_table(weights)(["a.jpg"], tokens).total[0]
        assert whole > part > nothing
        assert nothing == pytest.approx(0, abs=1e-4)


def test_a_caption_without_eos_gets_less_where_eos_counts() -> None:
    tokens = np.array([[[5, 6, 7, 8, 9, 10, 2], [5, 6, 7, 8, 9, 10, 0]]])
    ended, cut = by_table({"CIDEr-D": 1.0}, count_end=True)(["a.jpg"], tokens).total[0]
    assert ended > cut > 0
    ended, cut = by_table({"CIDEr-D": 1.0})(["a.jpg"], tokens).total[0]
    assert ended == cut


def test_a_reward_of_weight_0_is_not_computed() -> None:
    rewards = by_table({"CIDEr-D": 1.0, "BLEU-4": 0.0})(["a.jpg"], np.array([[[5, 6, 2]]]))
    assert rewards.parts.keys() == {"CIDEr-D"}


def test_tokens_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(2, 3\); expected \[1, samples, length\]"):
        by_table()(["a.jpg"], np.zeros((2, 3), np.int64))


def test_too_few_images_and_images_without_references_are_refused() -> None:
    words = TableWords(WORDS, eos_id=EOS)
    with pytest.raises(DataError, match="at least two images, and got 1"):
        CaptionReward({"a": ["b"]}, words, weights=ALL)
    with pytest.raises(DataError, match="image b"):
        CaptionReward({"a": ["b"], "b": []}, words, weights=ALL)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"CIDEr": 1.0}, "reward CIDEr is unknown.*did you mean CIDEr-D"),
        ({"CIDEr-D": -1.0}, r"reward CIDEr-D=-1\.0"),
        ({"length": float("nan")}, r"reward length=nan"),
        ({"CIDEr-D": 0.0}, "weights are 0.*CIDEr-D, BLEU-4, length"),
    ],
)
def test_wrong_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        by_table(weights)
