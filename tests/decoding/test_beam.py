"""Beam search against exhaustive search and a plain implementation."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor

from captioner.decoding import BeamSearch, GreedySearch, SpecialTokens, make_search
from captioner.errors import CaptionerError, UsageError
from captioner.models.decoders.cache import DecoderCache
from tests.decoding.conftest import (
    BOS,
    EOS,
    PAD,
    SPECIAL,
    UNK,
    captions,
    decoder,
    forced_logprobs,
    memory,
    ranked_captions,
)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize(("words", "max_length"), [(1, 6), (2, 4), (3, 3), (4, 1), (4, 2)])
def test_enough_beams_equal_exhaustive_search(words: int, max_length: int, length_penalty: float) -> None:
    beams = words ** (max_length - 1)  # as many as there are unfinished prefixes
    unused = range(4 + words, 12)  # banned, since a beam may be no larger than the vocabulary
    special = SpecialTokens(pad=PAD, begin=BOS, end=EOS, banned=(UNK, *unused))
    for seed in range(3):
        model, images = decoder(words + len(unused), seed=seed), memory(2, seed=seed)
        search = BeamSearch(beams, max_length=max_length, length_penalty=length_penalty)
        result = search(model, images, special)
        for b in range(2):
            expected = ranked_captions(model, images[b], words, max_length, length_penalty)[:beams]
            assert captions(result)[b] == [caption for _, caption in expected]
            torch.testing.assert_close(
                result.scores[b], torch.tensor([score for score, _ in expected]), atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_few_beams_equal_a_plain_implementation(beams: int) -> None:
    words, max_length, length_penalty = 5, 6, 0.7
    for seed in range(5):
        model, image = decoder(words, seed=seed), memory(1, seed=seed)
        # Plain implementation: lists, no cache, no batch, no early stop.
        live: list[tuple[float, list[int]]] = [(0.0, [])]
        finished: list[tuple[float, list[int]]] = []
        for t in range(max_length):
            extended = []
            for _, prefix in live:
                options = [[*prefix, w] for w in (EOS, *range(4, 4 + words))]
                totals = forced_logprobs(model, image[0], torch.tensor(options)).sum(-1).tolist()
                finished.append((totals[0] / (t + 1) ** length_penalty, options[0]))
                extended += list(zip(totals[1:], options[1:], strict=True))
            live = sorted(extended, reverse=True)[:beams]
        expected = sorted(finished, reverse=True)[:beams]
        result = BeamSearch(beams, max_length=max_length, length_penalty=length_penalty)(
            model, image, SPECIAL
        )
        assert captions(result)[0] == [caption for _, caption in expected]


@pytest.mark.parametrize("beams", [1, 3, 10])
@pytest.mark.parametrize("max_length", [1, 2, 7, 99])
def test_every_hypothesis_is_a_valid_caption(beams: int, max_length: int) -> None:
    model, images = decoder(6), memory(4)
    result = BeamSearch(beams, max_length=max_length)(model, images, SPECIAL)
    longest = min(max_length, model.max_length)
    assert result.tokens.shape == result.token_logprobs.shape == (4, beams, longest)
    for b, k in itertools.product(range(4), range(beams)):
        tokens = result.tokens[b, k].tolist()
        if result.scores[b, k] == -math.inf:  # fewer captions than beams exist
            assert max_length <= 2
            continue
        end = tokens.index(EOS)
        assert not {PAD, BOS, UNK} & set(tokens[:end])
        assert set(tokens[end + 1 :]) <= {PAD}
        assert result.token_logprobs[b, k, end + 1 :].abs().sum() == 0
    assert (result.scores[:, :-1] >= result.scores[:, 1:]).all()
    for row in captions(result):
        real = [tuple(caption) for caption in row if caption]
        assert len(set(real)) == len(real)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.5])
def test_scores_are_the_normalised_sums_of_teacher_forced_log_probabilities(length_penalty: float) -> None:
    model, images = decoder(9), memory(3)
    result = BeamSearch(4, max_length=8, length_penalty=length_penalty)(model, images, SPECIAL)
    for b in range(3):
        forced = forced_logprobs(model, images[b], result.tokens[b])
        torch.testing.assert_close(result.token_logprobs[b], forced, atol=1e-4, rtol=0)
    length = (result.tokens != PAD).sum(-1)
    torch.testing.assert_close(
        result.scores, result.token_logprobs.sum(-1) / length**length_penalty, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_do_not_depend_on_the_batch(beams: int) -> None:
    model, images = decoder(7), memory(6)
    search = BeamSearch(beams, max_length=9)
    batched = search(model, images, SPECIAL)
    for b in range(6):
        alone = search(model, images[b : b + 1], SPECIAL)
        assert torch.equal(alone.tokens[0], batched.tokens[b])
        torch.testing.assert_close(alone.scores[0], batched.scores[b], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.token_logprobs[0], batched.token_logprobs[b], atol=1e-5, rtol=0)


class ScriptedDecoder:
    """A decoder with given next-token probabilities for each prefix; counts its steps."""

    max_length = 8

    def __init__(self, probabilities: dict[tuple[int, ...], dict[int, float]], vocab_size: int = 7) -> None:
        self.probabilities = probabilities
        self.vocab_size = vocab_size
        self.prefixes: list[list[tuple[int, ...]]] = []
        self.steps = 0

    def init_cache(
        self, memory: Tensor, *, num_beams: int = 1, max_length: int | None = None
    ) -> DecoderCache:
        room = torch.zeros(memory.shape[0] * num_beams, 1, max_length or self.max_length, 1)
        return DecoderCache((), [room], [room.clone()])

    def step(self, tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        # The cache holds the prefix, so that a wrong selection of rows changes the result.
        cache.keys[0][:, 0, cache.length, 0] = tokens.flatten().float()
        cache.length += 1
        self.steps += 1
        logits = torch.full((*tokens.shape, self.vocab_size), -20.0)
        for row, prefix in enumerate(cache.keys[0][:, 0, : cache.length, 0].int().tolist()):
            for token, p in self.probabilities.get(tuple(prefix[1:]), {EOS: 1.0}).items():
                logits.view(-1, self.vocab_size)[row, token] = math.log(p)
        return logits, cache


def test_a_finished_caption_is_kept_unchanged() -> None:
    # "4" ends first and with a high score; the longer "5 6 4" is better after normalisation.
    scripted = ScriptedDecoder(
        {
            (): {4: 0.5, 5: 0.5},
            (4,): {EOS: 0.9, 5: 0.1},
            (5,): {6: 1.0},
            (5, 6): {4: 1.0},
            (5, 6, 4): {EOS: 1.0},
        }
    )
    result = BeamSearch(2, max_length=6, length_penalty=1.0)(scripted, torch.zeros(1, 1, 1), SPECIAL)
    assert captions(result) == [[[5, 6, 4, EOS], [4, EOS]]]
    torch.testing.assert_close(result.scores[0].exp(), torch.tensor([0.5 ** (1 / 4), 0.45 ** (1 / 2)]))
    torch.testing.assert_close(
        result.token_logprobs[0, 1].exp()[:2], torch.tensor([0.5, 0.9]), atol=1e-5, rtol=0
    )
    assert result.tokens[0, 1].tolist() == [4, EOS, PAD, PAD, PAD, PAD]


def test_search_stops_when_no_better_caption_is_possible() -> None:
    scripted = ScriptedDecoder({(): {4: 0.6, EOS: 0.4}, (4,): {EOS: 1.0}})
    result = BeamSearch(2, max_length=8, length_penalty=0.0)(scripted, torch.zeros(1, 1, 1), SPECIAL)
    assert captions(result) == [[[4, EOS], [EOS]]]
    assert scripted.steps <= 3


def test_control_tokens_are_never_emitted() -> None:
    scripted = ScriptedDecoder({(): {PAD: 0.3, BOS: 0.3, UNK: 0.3, 4: 0.1}, (4,): {UNK: 0.99, EOS: 0.01}})
    for search in (BeamSearch(1, max_length=4), BeamSearch(3, max_length=4), GreedySearch(max_length=4)):
        best = captions(search(scripted, torch.zeros(1, 1, 1), SPECIAL))[0][0]
        assert best == [4, EOS]


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_is_reported_with_its_step(step: int, beams: int, bad: float) -> None:
    model = decoder(5)
    plain = model.step

    def damaged(tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, DecoderCache]:
        logits, cache = plain(tokens, cache)
        if cache.length == step:
            logits[-1, -1, 5] = bad
        return logits, cache

    model.step = damaged  # type: ignore[method-assign]
    with pytest.raises(CaptionerError, match=f"NaN at step {step};"):
        make_search(beams, max_length=5)(model, memory(2), SPECIAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam_size": 0}, "beam_size=0 "),
        ({"beam_size": -2}, "beam_size=-2 "),
        ({"beam_size": 2.5}, "beam_size=2.5 "),
        ({"beam_size": "three"}, "beam_size='three' "),
        ({"beam_size": 1, "max_length": 0}, "max_length=0 "),
        ({"beam_size": 2, "max_length": 0}, "max_length=0 "),
        ({"beam_size": 1, "max_length": "x"}, "max_length='x' "),
        ({"beam_size": 2, "max_length": 7.5}, "max_length=7.5 "),
        ({"beam_size": 1, "length_penalty": -0.1}, "length_penalty=-0.1 "),
        ({"beam_size": 2, "length_penalty": -0.1}, "length_penalty=-0.1 "),
        ({"beam_size": 2, "length_penalty": math.nan}, "length_penalty=nan "),
        ({"beam_size": 1, "length_penalty": math.inf}, "length_penalty=inf "),
        ({"beam_size": 2, "length_penalty": "a"}, "length_penalty='a' "),
    ],
)
def test_out_of_range_values_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        make_search(**arguments)  # type: ignore[arg-type]


def test_beam_size_1_is_greedy_search() -> None:
    assert make_search(1, max_length=5).spec() == {"search": "greedy", "max_length": 5, "length_penalty": 0.7}
    assert make_search(4, length_penalty=0.0).spec() == {
        "search": "beam",
        "beam_size": 4,
        "max_length": 30,
        "length_penalty": 0.0,
    }
