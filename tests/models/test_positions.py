from __future__ import annotations

import math

import pytest
import torch

from captioner.errors import UsageError
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.positions import position_angles, rotate, sinusoid_line

V, D, N, L = 11, 8, 5, 6


def decoder(positions: str) -> TransformerDecoder:
    torch.manual_seed(0)
    made = TransformerDecoder(V, D, depth=2, num_heads=2, max_length=9, dropout=0.0, positions=positions)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made.eval()


def test_sinusoids_are_those_of_the_paper() -> None:
    line = sinusoid_line(50, 7)
    for t, j in ((0, 0), (3, 2), (17, 5), (49, 6)):
        angle = t / 10000 ** (2 * (j // 2) / 7)
        assert float(line[t, j]) == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-5)


def test_rotary_turns_each_pair_by_its_angle() -> None:
    x = torch.randn(2, 3, 4, 6)
    turned = rotate(x, position_angles(torch.arange(5, 9), 6))
    pairs = torch.view_as_complex(x.unflatten(-1, (3, 2)).contiguous())
    t, i = torch.arange(5, 9)[:, None], torch.arange(3)
    expected = pairs * torch.exp(1j * t / 10000 ** (2 * i / 6))
    torch.testing.assert_close(turned, torch.view_as_real(expected).flatten(-2), atol=1e-5, rtol=1e-5)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(i: int, j: int) -> float:
        return float(
            (
                rotate(q, position_angles(torch.tensor([i]), 8))
                * rotate(k, position_angles(torch.tensor([j]), 8))
            ).sum()
        )

    assert score(7, 3) == pytest.approx(score(14, 10), abs=1e-4)
    assert score(7, 3) != pytest.approx(score(7, 4), abs=1e-4)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@torch.no_grad()
def test_a_cached_step_equals_the_full_forward(positions: str) -> None:
    model = decoder(positions)
    tokens, memory = torch.randint(V, (2, 3, L)), torch.randn(2, N, D)
    expected = model(tokens, memory).logits
    cache = model.init_cache(memory, num_beams=3)
    for t in range(L):
        logits, cache = model.step(tokens[:, :, t], cache)
        torch.testing.assert_close(logits, expected[:, :, t], atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@torch.no_grad()
def test_the_order_of_words_matters(positions: str) -> None:
    model = decoder(positions)
    memory = torch.randn(1, N, D)
    a, b = (model(torch.tensor([[words]]), memory).logits[0, 0, -1] for words in ([1, 2, 3, 4], [1, 3, 2, 4]))
    assert float((a - b).abs().max()) > 1e-3


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_what_is_not_learned_is_not_kept(positions: str) -> None:
    assert not [name for name in decoder(positions).state_dict() if "sinusoid" in name or "position" in name]


def test_unknown_positions_and_odd_heads_are_refused() -> None:
    with pytest.raises(UsageError, match=r"positions='alibi' .*learned, sinusoidal, rotary"):
        TransformerDecoder(V, D, num_heads=2, positions="alibi")
    with pytest.raises(UsageError, match=r"dim=6 .*num_heads=2 .*3"):
        TransformerDecoder(V, 6, num_heads=2, positions="rotary")
