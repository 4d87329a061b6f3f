"""Sampling: distribution, filters, random streams and settings."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.decoding import GreedySearch, NoRepeatedNgrams, SampleSearch
from captioner.decoding.sampling import (
    filter_min_p,
    filter_top_k,
    filter_top_p,
    sample_tokens,
    uniform_streams,
)
from captioner.errors import UsageError
from tests.decoding.conftest import EOS, SPECIAL, captions, decoder, memory

FILTERS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7, "top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"temperature": 1.3, "top_k": 3, "top_p": 0.9, "min_p": 0.05},
]


def reference_distribution(
    p: Tensor, *, temperature: float = 1.0, top_k: int = 99, top_p: float = 1.0, min_p: float = 0.0
) -> list[float]:
    """The distribution `[V]` after temperature and filters, with lists."""
    probs = [x ** (1 / temperature) for x in p.tolist()]
    for cut in ("top_k", "top_p", "min_p"):
        total = sum(probs)
        probs = [x / total for x in probs]
        order = sorted(range(len(probs)), key=lambda i: -probs[i])
        if cut == "top_k":
            kept = order[:top_k]
        elif cut == "top_p":
            kept = [i for k, i in enumerate(order) if sum(probs[j] for j in order[:k]) < top_p]
        else:
            kept = [i for i in order if probs[i] >= min_p * probs[order[0]]]
        probs = [x if i in kept else 0.0 for i, x in enumerate(probs)]
    return [x / sum(probs) for x in probs]


@pytest.mark.parametrize("settings", FILTERS)
@pytest.mark.parametrize("without_repeats", [False, True])
def test_caption_frequencies_match_their_probabilities(
    settings: dict[str, Any], without_repeats: bool
) -> None:
    words, length, count = 3, 3, 4000
    model, image = decoder(words, seed=2), memory(1)
    assert model.head is not None
    with torch.no_grad():
        model.head.weight.mul_(0.3)  # a flatter distribution, so that many captions are sampled
    rules = [NoRepeatedNgrams(1)] if without_repeats else []
    expected: dict[tuple[int, ...], float] = {}
    for body in itertools.chain.from_iterable(
        itertools.product(range(4, 4 + words), repeat=n) for n in range(length)
    ):
        with torch.no_grad():
            inputs = torch.tensor([[[1, *body]]])
            steps = model(inputs, image).logits[0, 0].softmax(-1)
        p = 1.0
        for t, token in enumerate((*body, EOS)):
            allowed = steps[t].clone()
            allowed[[0, 1, 3, *(body[:t] if without_repeats else ())]] = 0
            if t + 1 == length:
                allowed[4:] = 0
            p *= reference_distribution(allowed, **settings)[token]
        expected[(*body, EOS)] = p
    assert sum(expected.values()) == pytest.approx(1)

    result = SampleSearch(count, seed=7, max_length=length, constraints=rules, **settings)(
        model, image, SPECIAL
    )
    sampled = [tuple(caption) for caption in captions(result)[0]]
    assert {caption for caption in sampled if expected[caption] < 1e-9} == set()
    frequent = [caption for caption, p in expected.items() if p * count >= 5]
    assert len(frequent) >= 2
    chi_square = sum((sampled.count(c) - count * expected[c]) ** 2 / (count * expected[c]) for c in frequent)
    dof = len(frequent) - 1
    assert chi_square < dof + 4 * math.sqrt(2 * dof)  # four standard deviations of a chi-square


def test_samples_depend_on_seed_and_image_alone() -> None:
    model, images = decoder(9), memory(1).expand(6, -1, -1)  # one image, six times
    first, again = (SampleSearch(2, seed=4, max_length=9)(model, images, SPECIAL) for _ in range(2))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.scores, again.scores)
    assert not torch.equal(first.tokens, SampleSearch(2, seed=5, max_length=9)(model, images, SPECIAL).tokens)
    # Each copy has its own stream.
    assert len({str(caption) for of_image in captions(first) for caption in of_image}) > 6


def test_more_samples_include_the_fewer() -> None:
    model, images = decoder(9), memory(3)
    few = captions(SampleSearch(2, seed=1, max_length=9)(model, images, SPECIAL))
    many = captions(SampleSearch(5, seed=1, max_length=9)(model, images, SPECIAL))
    for a, b in zip(few, many, strict=True):
        assert all(a.count(caption) <= b.count(caption) for caption in a)


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}])
def test_filters_that_leave_one_token_give_greedy_search(settings: dict[str, Any]) -> None:
    model, images = decoder(9), memory(4)
    greedy = GreedySearch(max_length=9)(model, images, SPECIAL)
    result = SampleSearch(max_length=9, **settings)(model, images, SPECIAL)
    assert torch.equal(result.tokens, greedy.tokens)
    torch.testing.assert_close(result.token_logprobs, greedy.token_logprobs)


def test_filters_equal_their_definition() -> None:
    logprobs = torch.randn(40, 11, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    for row in logprobs:
        for cut, settings in (
            (filter_top_k(row, 4), {"top_k": 4}),
            (filter_top_p(row, 0.6), {"top_p": 0.6}),
            (filter_min_p(row, 0.3), {"min_p": 0.3}),
        ):
            expected = torch.tensor(reference_distribution(row.exp(), **settings))
            torch.testing.assert_close(cut.softmax(-1), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(filter_top_k(logprobs, 99), logprobs)
    assert torch.equal(filter_top_p(logprobs, 1.0), logprobs)


def test_tokens_of_probability_0_are_never_sampled() -> None:
    logprobs = torch.tensor([-math.inf, 0.0, -math.inf, -50.0, -math.inf]).expand(1, 3, -1)
    uniform = torch.tensor([[0.0, 0.5, 1 - 2**-53]], dtype=torch.float64)
    assert set(sample_tokens(logprobs, uniform).flatten().tolist()) <= {1, 3}
    assert sample_tokens(logprobs, uniform)[0, 0] == 1


def test_streams_depend_on_seed_and_image() -> None:
    streams = uniform_streams(3, range(5), captions=2, length=4)
    assert torch.equal(uniform_streams(3, [4, 1], captions=2, length=4), streams[[4, 1]])
    assert len(set(streams.flatten().tolist())) == streams.numel()
    assert 0 <= streams.min() <= streams.max() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples=0 "),
        ({"seed": -1}, "seed=-1 "),
        ({"seed": 1.5}, "seed=1.5 "),
        ({"temperature": 0}, "temperature=0 .*method=greedy"),
        ({"temperature": math.inf}, "temperature=inf "),
        ({"temperature": math.nan}, "temperature=nan "),
        ({"top_k": 0}, "top_k=0 "),
        ({"top_p": 1.1}, "top_p=1.1 .*above 0 and at most 1; null"),
        ({"top_p": 0.0}, "top_p=0.0 .*above 0 and at most 1"),
        ({"min_p": "x"}, "min_p='x' .*above 0 and at most 1"),
    ],
)
def test_out_of_range_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SampleSearch(**arguments)
