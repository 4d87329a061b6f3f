"""Beam search under rules is exhaustive search, filtered."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from captioner.decoding import (
    Banned,
    BeamSearch,
    Constraint,
    LengthNorm,
    MinLength,
    NoRepeatedNgrams,
    NoTrailing,
    Prefix,
    Required,
)
from captioner.errors import UsageError
from tests.decoding.conftest import captions, decoder, every_caption, memory, spared

WORDS, LENGTH = 3, 4
PREFIXES = WORDS ** (LENGTH - 1)  # beams that hold every unfinished caption


def text(caption: list[int]) -> str:
    return "".join(map(str, caption[:-1]))


Rule = tuple[list[Constraint], Required | None, Callable[[str], bool]]
RULES: list[Rule] = [
    ([Prefix([5, 4])], None, lambda c: c.startswith("54")),
    ([Banned([[5]])], None, lambda c: "5" not in c),
    ([Banned([[5, 4], [6]])], None, lambda c: "54" not in c and "6" not in c),
    ([MinLength(3)], None, lambda c: len(c) >= 2),
    ([NoRepeatedNgrams(1)], None, lambda c: len(set(c)) == len(c)),
    ([NoRepeatedNgrams(2)], None, lambda c: len(set(pairwise(c))) == max(0, len(c) - 1)),
    ([NoTrailing([[4], [5, 6]])], None, lambda c: not c.endswith(("4", "56"))),
    (
        [NoTrailing([[4], [5]]), MinLength(4), Banned([[6, 6]])],
        None,
        lambda c: c[2:] == "6" and "66" not in c,
    ),
    ([], Required([[4]]), lambda c: "4" in c),
    ([], Required([[4], [6]]), lambda c: "4" in c and "6" in c),
    ([], Required([[6], [4], [5]]), lambda c: set(c) == set("456")),
    ([], Required([[4, 5]]), lambda c: "45" in c),
    ([], Required([[4, 4, 5]]), lambda c: "445" in c),
    ([], Required([[4, 5], [6]]), lambda c: "45" in c and "6" in c),
    ([], Required([[4]], continuing=[5]), lambda c: "4" in c.replace("45", "-")),
    ([NoRepeatedNgrams(1)], Required([[5]]), lambda c: "5" in c and len(set(c)) == len(c)),
    ([Prefix([5])], Required([[4, 6]]), lambda c: c in ("546", "5464")),
]


@pytest.mark.parametrize("rule", range(len(RULES)))
def test_with_enough_beams_it_is_filtered_exhaustive_search(rule: int) -> None:
    constraints, required, obeys = RULES[rule]
    special = spared(WORDS, 4 + PREFIXES)
    search = BeamSearch(PREFIXES, max_length=LENGTH, constraints=constraints, required=required)
    for seed in range(2):
        model, images = decoder(PREFIXES, seed=seed), memory(2, seed=seed)
        found = search(model, images, special)
        for b in range(2):
            ranked = every_caption(model, images[b], WORDS, LENGTH, 0.7)
            expected = [(score, caption) for score, caption in ranked if obeys(text(caption))][:PREFIXES]
            assert [caption for caption in captions(found)[b] if caption] == [
                caption for _, caption in expected
            ]
            scores = torch.tensor([score for score, _ in expected])
            torch.testing.assert_close(found.scores[b, : len(expected)], scores, atol=1e-5, rtol=1e-5)


def test_a_small_beam_finds_good_captions_with_required_words() -> None:
    required, total, best = Required([[4], [7]]), 0.0, 0.0
    for seed in range(4):
        model, images = decoder(12, seed=seed), memory(2, seed=seed)
        found = BeamSearch(3, max_length=5, required=required)(model, images, spared(5, 16))
        for b in range(2):
            assert all({4, 7} <= set(caption) for caption in captions(found)[b] if caption)
            ranked = every_caption(model, images[b], 5, 5, 0.7)
            best += next(score for score, caption in ranked if {4, 7} <= set(caption))
            total += float(found.scores[b, 0])
    assert total <= best + 1e-4
    assert total >= 1.1 * best  # nats, below 0: a tenth at most is lost


@pytest.mark.parametrize("kind", ["power", "gnmt", "average", "none"])
def test_length_norms_rank_as_their_formula_says(kind: str) -> None:
    model, images = decoder(PREFIXES, seed=1), memory(1)
    ranked = every_caption(model, images[0], WORDS, LENGTH, 0.0)
    divisors: dict[str, Callable[[int], float]] = {
        "power": lambda n: n**1.3,
        "gnmt": lambda n: ((5 + n) / 6) ** 1.3,
        "average": lambda n: n,
        "none": lambda n: 1,
    }
    divide = divisors[kind]
    expected = sorted(((score / divide(len(caption)), caption) for score, caption in ranked), reverse=True)
    search = BeamSearch(PREFIXES, max_length=LENGTH, length_penalty=1.3, length_norm=kind)
    found = search(model, images, spared(WORDS, 4 + PREFIXES))
    assert captions(found)[0] == [caption for _, caption in expected[:PREFIXES]]
    torch.testing.assert_close(found.scores[0, 0].item(), expected[0][0], atol=1e-5, rtol=1e-5)


def test_an_unknown_length_norm_is_refused() -> None:
    with pytest.raises(UsageError, match=r"length_norm=wu .*power, gnmt, average, none"):
        LengthNorm(0.7, "wu")


def test_more_required_words_than_places_are_refused() -> None:
    with pytest.raises(UsageError, match=r"required=3 .*4 tokens.* 3"):
        BeamSearch(2, max_length=3, required=Required([[4], [5], [6]]))
