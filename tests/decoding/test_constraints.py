"""Constrained beam search against filtered exhaustive search."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from captioner.decoding import (
    BannedTokens,
    BeamSearch,
    Constraint,
    LengthNorm,
    MinLength,
    NoRepeatedNgrams,
    NoTrailing,
    Prefix,
    RequiredTokens,
)
from captioner.errors import UsageError
from tests.decoding.conftest import allow_words, captions, decoder, memory, ranked_captions

WORDS, LENGTH = 3, 4
PREFIXES = WORDS ** (LENGTH - 1)  # number of unfinished captions


def text(caption: list[int]) -> str:
    return "".join(map(str, caption[:-1]))


Case = tuple[list[Constraint], RequiredTokens | None, Callable[[str], bool]]
CASES: list[Case] = [
    ([Prefix([5, 4])], None, lambda c: c.startswith("54")),
    ([BannedTokens([[5]])], None, lambda c: "5" not in c),
    ([BannedTokens([[5, 4], [6]])], None, lambda c: "54" not in c and "6" not in c),
    ([MinLength(3)], None, lambda c: len(c) >= 2),
    ([NoRepeatedNgrams(1)], None, lambda c: len(set(c)) == len(c)),
    ([NoRepeatedNgrams(2)], None, lambda c: len(set(pairwise(c))) == max(0, len(c) - 1)),
    ([NoTrailing([[4], [5, 6]])], None, lambda c: not c.endswith(("4", "56"))),
    (
        [NoTrailing([[4], [5]]), MinLength(4), BannedTokens([[6, 6]])],
        None,
        lambda c: c[2:] == "6" and "66" not in c,
    ),
    ([], RequiredTokens([[4]]), lambda c: "4" in c),
    ([], RequiredTokens([[4], [6]]), lambda c: "4" in c and "6" in c),
    ([], RequiredTokens([[6], [4], [5]]), lambda c: set(c) == set("456")),
    ([], RequiredTokens([[4, 5]]), lambda c: "45" in c),
    ([], RequiredTokens([[4, 4, 5]]), lambda c: "445" in c),
    ([], RequiredTokens([[4, 5], [6]]), lambda c: "45" in c and "6" in c),
    ([], RequiredTokens([[4]], continuing=[5]), lambda c: "4" in c.replace("45", "-")),
    ([NoRepeatedNgrams(1)], RequiredTokens([[5]]), lambda c: "5" in c and len(set(c)) == len(c)),
    ([Prefix([5])], RequiredTokens([[4, 6]]), lambda c: c in ("546", "5464")),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_enough_beams_equal_filtered_exhaustive_search(case: int) -> None:
    constraints, required, allowed = CASES[case]
    special = allow_words(WORDS, 4 + PREFIXES)
    search = BeamSearch(PREFIXES, max_length=LENGTH, constraints=constraints, required=required)
    for seed in range(2):
        model, images = decoder(PREFIXES, seed=seed), memory(2, seed=seed)
        result = search(model, images, special)
        for b in range(2):
            ranked = ranked_captions(model, images[b], WORDS, LENGTH, 0.7)
            expected = [(score, caption) for score, caption in ranked if allowed(text(caption))][:PREFIXES]
            assert [caption for caption in captions(result)[b] if caption] == [
                caption for _, caption in expected
            ]
            scores = torch.tensor([score for score, _ in expected])
            torch.testing.assert_close(result.scores[b, : len(expected)], scores, atol=1e-5, rtol=1e-5)


def test_a_small_beam_with_required_tokens_is_near_the_optimum() -> None:
    required, total, best = RequiredTokens([[4], [7]]), 0.0, 0.0
    for seed in range(4):
        model, images = decoder(12, seed=seed), memory(2, seed=seed)
        result = BeamSearch(3, max_length=5, required=required)(model, images, allow_words(5, 16))
        for b in range(2):
            assert all({4, 7} <= set(caption) for caption in captions(result)[b] if caption)
            ranked = ranked_captions(model, images[b], 5, 5, 0.7)
            best += next(score for score, caption in ranked if {4, 7} <= set(caption))
            total += float(result.scores[b, 0])
    assert total <= best + 1e-4
    assert total >= 1.1 * best  # negative nats: at most a tenth worse


@pytest.mark.parametrize("kind", ["power", "gnmt", "average", "none"])
def test_length_norms_rank_by_their_formula(kind: str) -> None:
    model, images = decoder(PREFIXES, seed=1), memory(1)
    ranked = ranked_captions(model, images[0], WORDS, LENGTH, 0.0)
    divisors: dict[str, Callable[[int], float]] = {
        "power": lambda n: n**1.3,
        "gnmt": lambda n: ((5 + n) / 6) ** 1.3,
        "average": lambda n: n,
        "none": lambda n: 1,
    }
    divisor = divisors[kind]
    expected = sorted(((score / divisor(len(caption)), caption) for score, caption in ranked), reverse=True)
    search = BeamSearch(PREFIXES, max_length=LENGTH, length_penalty=1.3, length_norm=kind)
    result = search(model, images, allow_words(WORDS, 4 + PREFIXES))
    assert captions(result)[0] == [caption for _, caption in expected[:PREFIXES]]
    torch.testing.assert_close(result.scores[0, 0].item(), expected[0][0], atol=1e-5, rtol=1e-5)


def test_an_unknown_length_norm_is_refused() -> None:
    with pytest.raises(UsageError, match=r"length_norm=gmnt .*power, gnmt, average, none; did you mean gnmt"):
        LengthNorm(0.7, "gmnt")


def test_more_required_tokens_than_positions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"required=3 .*4 tokens.* 3; raise max_length"):
        BeamSearch(2, max_length=3, required=RequiredTokens([[4], [5], [6]]))
