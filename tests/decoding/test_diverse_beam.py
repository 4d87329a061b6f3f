"""Diverse beam search against a plain implementation and beam search."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from captioner.decoding import BeamSearch, DiverseBeamSearch
from captioner.errors import UsageError
from tests.decoding.conftest import EOS, SPECIAL, captions, decoder, forced_logprobs, memory


@pytest.mark.parametrize(("beams", "groups"), [(3, 3), (4, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.4, 1.5])
def test_diverse_beam_search_equals_a_plain_implementation(beams: int, groups: int, diversity: float) -> None:
    words, max_length, size = 5, 6, beams // groups
    for seed in range(3):
        model, image = decoder(words, seed=seed), memory(1, seed=seed)
        # Plain implementation: lists, no cache, no batch, no early stop; (rank, log P, caption so far) of each group.
        live: list[list[tuple[float, float, list[int]]]] = [[(0.0, 0.0, [])] for _ in range(groups)]
        finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(groups)]
        for t in range(max_length):
            chosen: list[int] = []
            for g in range(groups):
                extended = []
                for rank, logp, prefix in live[g]:
                    options = [[*prefix, w] for w in (EOS, *range(4, 4 + words))]
                    steps = forced_logprobs(model, image[0], torch.tensor(options))[:, -1].tolist()
                    finished[g].append(((logp + steps[0]) / (t + 1) ** 0.7, options[0]))
                    for step, option in zip(steps[1:], options[1:], strict=True):
                        penalty = diversity * chosen.count(option[-1])
                        extended.append((rank + step - penalty, logp + step, option))
                live[g] = sorted(extended, reverse=True)[:size]
                chosen += [option[-1] for _, _, option in live[g]]
        best = [sorted(of_group, reverse=True)[:size] for of_group in finished]
        expected = sorted(
            {tuple(caption): score for of_group in best for score, caption in of_group}.items(),
            key=lambda item: -item[1],
        )
        search = DiverseBeamSearch(beams, groups=groups, diversity=diversity, max_length=max_length)
        result = search(model, image, SPECIAL)
        assert [caption for caption in captions(result)[0] if caption] == [
            list(caption) for caption, _ in expected
        ]
        scores = torch.tensor([score for _, score in expected])
        torch.testing.assert_close(result.scores[0, : len(expected)], scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_one_group_is_beam_search(beams: int) -> None:
    model, images = decoder(7), memory(4)
    plain = BeamSearch(beams, max_length=8)(model, images, SPECIAL)
    result = DiverseBeamSearch(beams, groups=1, max_length=8)(model, images, SPECIAL)
    assert torch.equal(result.tokens, plain.tokens)
    assert torch.equal(result.scores, plain.scores)


def test_duplicates_of_groups_without_penalty_are_removed() -> None:
    model, images = decoder(7), memory(4)
    plain = BeamSearch(2, max_length=8)(model, images, SPECIAL)
    result = DiverseBeamSearch(6, groups=3, diversity=0.0, max_length=8)(model, images, SPECIAL)
    assert torch.equal(result.tokens[:, :2], plain.tokens)
    assert (result.scores[:, 2:] == -torch.inf).all()


def test_a_large_penalty_makes_first_words_differ() -> None:
    model, images = decoder(7), memory(8)
    result = DiverseBeamSearch(3, groups=3, diversity=50.0, max_length=8)(model, images, SPECIAL)
    num_words = 0
    for of_image in captions(result):
        first = [caption[0] for caption in of_image if caption and caption[0] != EOS]
        assert len(set(first)) == len(first)
        num_words += len(first)
    assert num_words > 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam_size": 4, "groups": 3}, "groups=3 .*beam_size=4; .*beam_size=3"),
        ({"groups": 0}, "groups=0 "),
        ({"diversity": -1.0}, "diversity=-1.0 "),
        ({"diversity": "x"}, "diversity='x' "),
    ],
)
def test_out_of_range_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DiverseBeamSearch(**arguments)
