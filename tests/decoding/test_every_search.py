"""Properties common to all searches, with each decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.decoding import (
    BannedTokens,
    BeamSearch,
    Constraint,
    ContrastiveSearch,
    DiverseBeamSearch,
    EnsembleSearch,
    GreedySearch,
    MbrSearch,
    MinLength,
    NoRepeatedNgrams,
    NoTrailing,
    Prefix,
    RequiredTokens,
    SampleSearch,
    Search,
    make_search,
)
from captioner.errors import CaptionerError, UsageError
from captioner.models.decoders.decoder import Decoder
from tests.decoding.conftest import (
    BOS,
    EOS,
    PAD,
    SPECIAL,
    UNK,
    captions,
    decoder,
    forced_logprobs,
    lstm,
    memory,
)

Make = Callable[..., Search]


def mbr(*, max_length: int = 30, constraints: Sequence[Constraint] = ()) -> MbrSearch:
    samples = SampleSearch(6, seed=3, max_length=max_length, constraints=constraints)
    return MbrSearch(samples, lambda ids: " ".join(f"w{i}" for i in ids if i not in (PAD, EOS)))


def ensemble(*, max_length: int = 30, constraints: Sequence[Constraint] = ()) -> EnsembleSearch:
    return EnsembleSearch(BeamSearch(2, max_length=max_length, constraints=constraints), [])


def required(*, max_length: int = 30, constraints: Sequence[Constraint] = ()) -> BeamSearch:
    return BeamSearch(2, max_length=max_length, constraints=constraints, required=RequiredTokens([[5], [6]]))


def filtered_sample(*, max_length: int = 30, constraints: Sequence[Constraint] = ()) -> SampleSearch:
    return SampleSearch(
        3,
        temperature=0.8,
        top_k=5,
        top_p=0.9,
        min_p=0.05,
        seed=2,
        max_length=max_length,
        constraints=constraints,
    )


SEARCHES: list[Make] = [
    GreedySearch,
    BeamSearch,
    DiverseBeamSearch,
    ContrastiveSearch,
    SampleSearch,
    filtered_sample,
    mbr,
    ensemble,
    required,
]
DECODERS: list[Callable[..., Decoder]] = [decoder, lstm]


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("max_length", [3, 9, 99])
def test_captions_end_and_report_the_models_log_probabilities(
    make: Make, make_decoder: Callable[..., Decoder], max_length: int
) -> None:
    model, images = make_decoder(8), memory(4)
    result = make(max_length=max_length)(model, images, SPECIAL)
    assert result.tokens.shape[2] == min(max_length, model.max_length)
    assert (result.scores[:, 0] > -math.inf).all()
    for b in range(4):
        real = result.scores[b] > -math.inf
        for tokens in result.tokens[b, real].tolist():
            end = tokens.index(EOS)
            assert not {PAD, BOS, UNK} & set(tokens[:end])
            assert set(tokens[end + 1 :]) <= {PAD}
        assert (result.tokens[b, ~real] == PAD).all()
        forced = forced_logprobs(model, images[b], result.tokens[b])
        torch.testing.assert_close(result.token_logprobs[b, real], forced[real], atol=1e-4, rtol=1e-4)
    length = (result.tokens != PAD).sum(-1).clamp(min=1)
    expected = result.token_logprobs.sum(-1) / length**0.7
    real = result.scores > -math.inf
    torch.testing.assert_close(result.scores[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
def test_captions_do_not_depend_on_the_batch(make: Make, make_decoder: Callable[..., Decoder]) -> None:
    model, images = make_decoder(7, seed=5), memory(5)
    search = make(max_length=9)
    batched = search(model, images, SPECIAL)
    # Also for a part of a batch: numbers count within the images of the first call.
    part = search.for_images([9, 9, *range(5)]).for_images([4, 5, 6])(model, images[2:], SPECIAL)
    assert torch.equal(part.tokens, batched.tokens[2:])
    for b in range(5):
        alone = search.for_images([b])(model, images[b : b + 1], SPECIAL)
        assert torch.equal(alone.tokens[0], batched.tokens[b])
        torch.testing.assert_close(alone.scores[0], batched.scores[b], atol=1e-5, rtol=1e-5)


CASES: list[tuple[list[Constraint], Callable[[list[int]], bool]]] = [
    ([Prefix([5, 5, 6])], lambda c: c[:3] == [5, 5, 6]),
    (
        [BannedTokens([[5], [4, 6], [7, 8, 4]])],
        lambda c: 5 not in c and "46" not in text(c) and "784" not in text(c),
    ),
    ([MinLength(7)], lambda c: len(c) >= 6),
    ([NoRepeatedNgrams(1)], lambda c: len(set(c)) == len(c)),
    ([NoRepeatedNgrams(2)], lambda c: len(set(pairwise(c))) == max(0, len(c) - 1)),
    ([NoTrailing([[4], [6, 5], [7]])], lambda c: not text(c).endswith(("4", "65", "7"))),
    (
        [MinLength(5), NoTrailing([[4], [6]]), NoRepeatedNgrams(2), Prefix([4, 4, 4])],
        lambda c: len(c) >= 4 and c[-1] not in (4, 6) and c[:3] == [4, 4, 4],
    ),
]


def text(words: list[int]) -> str:
    return "".join(map(str, words))


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_caption_meets_the_constraints(
    make: Make, case: int, make_decoder: Callable[..., Decoder]
) -> None:
    constraints, allowed = CASES[case]
    if make is required and case == 1:
        return  # 5 is both required and banned
    for seed in range(2):
        result = make(max_length=8, constraints=constraints)(make_decoder(5, seed=seed), memory(6), SPECIAL)
        for of_image in captions(result):
            assert all(allowed(caption[:-1]) for caption in of_image if caption)


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
def test_nan_is_reported_with_its_step(make: Make, make_decoder: Callable[..., Decoder]) -> None:
    model = make_decoder(7)
    plain = model.step

    def damaged(tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = plain(tokens, cache)
        if cache.length == 2:
            logits[-1, -1, 5] = math.nan
        return logits, cache

    model.step = damaged  # type: ignore[method-assign]
    with pytest.raises(CaptionerError, match="NaN at step 2;"):
        make(max_length=6)(model, memory(2), SPECIAL)


@pytest.mark.parametrize("make", [make for make in SEARCHES if make is not required])
def test_unsatisfiable_constraints_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match=r"min_length=9 .*9 tokens.* 8; raise max_length"):
        make(max_length=8, constraints=[MinLength(9)])
    with pytest.raises(UsageError, match=r"min_length=9 .*9 tokens.* 7; raise max_length"):
        make(max_length=10, constraints=[MinLength(9)])(decoder(5, max_length=7), memory(1), SPECIAL)
    with pytest.raises(UsageError, match=r"prefix=3 tokens .*4 tokens"):
        make(max_length=3, constraints=[Prefix([4, 4, 4])])
    everything = BannedTokens([[word] for word in range(4, 9)])
    with pytest.raises(UsageError, match=r"banned=5 .*9 tokens.*ban fewer words"):
        make(max_length=6, constraints=[everything])(decoder(5), memory(2), SPECIAL)
    # Five different words cannot fill six places before EOS.
    dead_end = [NoRepeatedNgrams(1), MinLength(7)]
    with pytest.raises(UsageError, match=r"step \d.*no_repeat_ngram=1, min_length=7 .*max_length"):
        make(max_length=9, constraints=dead_end)(decoder(5), memory(2), SPECIAL)


@pytest.mark.parametrize("search", [BeamSearch(10), DiverseBeamSearch(12), ContrastiveSearch(10)])
def test_a_beam_larger_than_the_vocabulary_is_refused(search: Search) -> None:
    with pytest.raises(UsageError, match=r"(beam_size|candidates)=1[02] .*vocabulary of 9 tokens"):
        search(decoder(5), memory(1), SPECIAL)


def test_specs_contain_every_setting() -> None:
    assert make_search(2, min_length=3, length_norm="gnmt").spec() == {
        "search": "beam",
        "beam_size": 2,
        "max_length": 30,
        "length_norm": "gnmt",
        "length_penalty": 0.7,
        "min_length": 3,
    }
    assert filtered_sample(max_length=5).spec() == {
        "search": "sample",
        "samples": 3,
        "temperature": 0.8,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.05,
        "seed": 2,
        "max_length": 5,
        "length_penalty": 0.7,
    }
    assert mbr(max_length=5).spec()["search"] == "mbr of sample"
