"""What every search promises, with either decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.decoding import (
    Banned,
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
    Required,
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
    return BeamSearch(2, max_length=max_length, constraints=constraints, required=Required([[5], [6]]))


def cut(*, max_length: int = 30, constraints: Sequence[Constraint] = ()) -> SampleSearch:
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
    cut,
    mbr,
    ensemble,
    required,
]
DECODERS = [decoder, lstm]


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("max_length", [3, 9, 99])
def test_captions_end_and_report_the_models_own_log_probabilities(
    make: Make, make_decoder: Callable[..., Decoder], max_length: int
) -> None:
    model, images = make_decoder(8), memory(4)
    found = make(max_length=max_length)(model, images, SPECIAL)
    assert found.tokens.shape[2] == min(max_length, model.max_length)
    assert (found.scores[:, 0] > -math.inf).all()
    for b in range(4):
        real = found.scores[b] > -math.inf
        for tokens in found.tokens[b, real].tolist():
            end = tokens.index(EOS)
            assert not {PAD, BOS, UNK} & set(tokens[:end])
            assert set(tokens[end + 1 :]) <= {PAD}
        assert (found.tokens[b, ~real] == PAD).all()
        forced = forced_logprobs(model, images[b], found.tokens[b])
        torch.testing.assert_close(found.token_logprobs[b, real], forced[real], atol=1e-4, rtol=1e-4)
    length = (found.tokens != PAD).sum(-1).clamp(min=1)
    expected = found.token_logprobs.sum(-1) / length**0.7
    real = found.scores > -math.inf
    torch.testing.assert_close(found.scores[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
def test_a_batch_gives_what_each_image_gives_alone(make: Make, make_decoder: Callable[..., Decoder]) -> None:
    model, images = make_decoder(7, seed=5), memory(5)
    search = make(max_length=9)
    together = search(model, images, SPECIAL)
    # Also in batches of batches: a number is that among the images given before.
    half = search.for_images([9, 9, *range(5)]).for_images([4, 5, 6])(model, images[2:], SPECIAL)
    assert torch.equal(half.tokens, together.tokens[2:])
    for b in range(5):
        alone = search.for_images([b])(model, images[b : b + 1], SPECIAL)
        assert torch.equal(alone.tokens[0], together.tokens[b])
        torch.testing.assert_close(alone.scores[0], together.scores[b], atol=1e-5, rtol=1e-5)


RULES: list[tuple[list[Constraint], Callable[[list[int]], bool]]] = [
    ([Prefix([5, 5, 6])], lambda c: c[:3] == [5, 5, 6]),
    (
        [Banned([[5], [4, 6], [7, 8, 4]])],
        lambda c: 5 not in c and "46" not in joined(c) and "784" not in joined(c),
    ),
    ([MinLength(7)], lambda c: len(c) >= 6),
    ([NoRepeatedNgrams(1)], lambda c: len(set(c)) == len(c)),
    ([NoRepeatedNgrams(2)], lambda c: len(set(pairwise(c))) == max(0, len(c) - 1)),
    ([NoTrailing([[4], [6, 5], [7]])], lambda c: not joined(c).endswith(("4", "65", "7"))),
    (
        [MinLength(5), NoTrailing([[4], [6]]), NoRepeatedNgrams(2), Prefix([4, 4, 4])],
        lambda c: len(c) >= 4 and c[-1] not in (4, 6) and c[:3] == [4, 4, 4],
    ),
]


def joined(words: list[int]) -> str:
    return "".join(map(str, words))


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("rules", range(len(RULES)))
def test_every_caption_obeys(make: Make, rules: int, make_decoder: Callable[..., Decoder]) -> None:
    constraints, obeys = RULES[rules]
    if make is required and rules == 1:
        return  # 5 is both required and banned
    for seed in range(2):
        found = make(max_length=8, constraints=constraints)(make_decoder(5, seed=seed), memory(6), SPECIAL)
        for of_image in captions(found):
            assert all(obeys(caption[:-1]) for caption in of_image if caption)


@pytest.mark.parametrize("make_decoder", DECODERS)
@pytest.mark.parametrize("make", SEARCHES)
def test_nan_names_the_step(make: Make, make_decoder: Callable[..., Decoder]) -> None:
    model = make_decoder(7)
    plain = model.step

    def damaged(tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = plain(tokens, cache)
        if cache.length == 2:
            logits[-1, -1, 5] = math.nan
        return logits, cache

    model.step = damaged  # type: ignore[method-assign]
    with pytest.raises(CaptionerError, match=r"NaN at step 2.*weights"):
        make(max_length=6)(model, memory(2), SPECIAL)


@pytest.mark.parametrize("make", [make for make in SEARCHES if make is not required])
def test_what_cannot_be_obeyed_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match=r"min_length=9 .*9 tokens.* 8.*max_length"):
        make(max_length=8, constraints=[MinLength(9)])
    with pytest.raises(UsageError, match=r"min_length=9 .*9 tokens.* 7"):
        make(max_length=10, constraints=[MinLength(9)])(decoder(5, max_length=7), memory(1), SPECIAL)
    with pytest.raises(UsageError, match=r"prefix=3 .*4 tokens"):
        make(max_length=3, constraints=[Prefix([4, 4, 4])])
    everything = Banned([[word] for word in range(4, 9)])
    with pytest.raises(UsageError, match=r"banned=5 .*9 tokens.*ban fewer"):
        make(max_length=6, constraints=[everything])(decoder(5), memory(2), SPECIAL)
    # Five words, none twice, cannot fill seven places.
    dead_end = [NoRepeatedNgrams(1), MinLength(7)]
    with pytest.raises(UsageError, match=r"step \d.*no_repeat_ngram=1, min_length=7"):
        make(max_length=9, constraints=dead_end)(decoder(5), memory(2), SPECIAL)


@pytest.mark.parametrize("search", [BeamSearch(10), DiverseBeamSearch(12), ContrastiveSearch(10)])
def test_a_beam_larger_than_the_vocabulary_is_refused(search: Search) -> None:
    with pytest.raises(UsageError, match=r"=1[02] .*9 tokens.* 9 "):
        search(decoder(5), memory(1), SPECIAL)


def test_specs_say_every_setting() -> None:
    assert make_search(2, min_length=3, length_norm="gnmt").spec() == {
        "search": "beam",
        "beam_size": 2,
        "max_length": 30,
        "length_norm": "gnmt",
        "length_penalty": 0.7,
        "min_length": 3,
    }
    assert cut(max_length=5).spec() == {
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
