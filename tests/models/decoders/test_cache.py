from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from captioner.models.attention import KeyValue
from captioner.models.decoders.cache import DecoderCache, LstmState, StaticLayerCache
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder

LAYERS, B, K, H, T, d = 2, 2, 3, 2, 4, 3


def empty() -> DecoderCache:
    image = tuple(KeyValue(torch.randn(B, H, 5, d), torch.randn(B, H, 5, d)) for _ in range(LAYERS))
    keys, values = ([torch.zeros(B * K, H, T, d) for _ in range(LAYERS)] for _ in range(2))
    return DecoderCache(image, keys, values)


def token(value: float) -> KeyValue:
    """One token's keys, telling their row by their fraction."""
    rows = torch.arange(B * K).view(-1, 1, 1, 1) / 10 + value
    return KeyValue(rows.expand(-1, H, 1, d).clone(), -rows.expand(-1, H, 1, d).clone())


def test_what_was_appended_comes_back_in_order() -> None:
    cache = empty()
    for t in range(3):
        for layer in range(LAYERS):
            kept = cache.layers[layer].append(token(10 * layer + t))
            assert kept.keys.shape == (B * K, H, t + 1, d)
            expected = torch.cat([token(10 * layer + s).keys for s in range(t + 1)], dim=2)
            assert torch.equal(kept.keys, expected)
            assert torch.equal(kept.values, -expected)
        cache.length += 1
    assert cache.max_length == T


def test_selection_takes_beams_of_the_same_image() -> None:
    cache = empty()
    for layer in range(LAYERS):
        cache.layers[layer].append(token(layer))
    cache.length = 1
    cache.select(torch.tensor([[2, 2], [0, 1]]))
    assert len(cache.keys[0]) == B * 2
    tenths = (cache.keys[0][:, 0, 0, 0] * 10).round().int().tolist()
    assert tenths == [2, 2, 3, 4]
    assert all(torch.equal(values, -keys) for keys, values in zip(cache.keys, cache.values, strict=True))
    # The new number of beams counts from now on.
    cache.select(torch.tensor([[1, 0, 0], [1, 0, 1]]))
    tenths = (cache.keys[0][:, 0, 0, 0] * 10).round().int().tolist()
    assert tenths == [2, 2, 2, 4, 3, 4]


def test_both_layouts_hold_the_same_tokens() -> None:
    growing, static = empty(), empty()
    for t in range(3):
        allowed = torch.arange(T) <= t
        for layer in range(LAYERS):
            new = token(10 * layer + t)
            so_far = growing.layers[layer].append(new)
            whole = StaticLayerCache(
                static.keys[layer], static.values[layer], torch.tensor([t]), allowed
            ).append(new)
            assert whole.keys.shape == (B * K, H, T, d)
            assert torch.equal(whole.keys[:, :, allowed], so_far.keys)
            assert torch.equal(whole.values[:, :, allowed], so_far.values)
        growing.length += 1


@pytest.mark.parametrize("rows", [[[0, 1, 2], [0, 1, 2]], [[1, 1, 0], [0, 2, 0]], [[2, 0, 1], [1, 2, 0]]])
def test_a_cache_is_reordered_in_place(rows: list[list[int]]) -> None:
    cache = empty()
    for layer in range(LAYERS):
        cache.layers[layer].append(token(layer))
    cache.length = 1
    expected = [
        [token(layer).keys[3 * b + k] for b, of in enumerate(rows) for k in of] for layer in range(LAYERS)
    ]
    addresses = [part.data_ptr() for part in (*cache.keys, *cache.values)]
    cache.select(torch.tensor(rows))
    for layer in range(LAYERS):
        assert torch.equal(cache.keys[layer][:, :, :1], torch.stack(expected[layer]))
        assert torch.equal(cache.values[layer][:, :, :1], -torch.stack(expected[layer]))
    # A step recorded on a GPU reads the addresses it was recorded with.
    assert addresses == [part.data_ptr() for part in (*cache.keys, *cache.values)]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_cost_of_a_step_grows_with_length_through_self_attention_alone(
    positions: str, depth: int
) -> None:
    width, heads, rows = 8, 2, B * K
    model = TransformerDecoder(11, width, depth=depth, num_heads=heads, max_length=8, positions=positions)
    costs = step_costs(model)
    # Queries on keys and weights on values: 2 operations for each of the width's numbers, twice.
    assert {after - before for before, after in pairwise(costs)} == {4 * width * depth * rows}


def test_the_cost_of_an_lstms_step_does_not_grow() -> None:
    assert len(set(step_costs(LstmDecoder(11, 8, max_length=8)))) == 1


@torch.no_grad()
def step_costs(model: Any) -> list[int]:
    """Floating-point operations of each step."""
    model = model.double().eval()  # whose products the counter knows
    cache: DecoderCache | LstmState = model.init_cache(torch.randn(B, 5, 8, dtype=torch.float64), num_beams=K)
    costs = []
    for _ in range(8):
        with FlopCounterMode(display=False) as counter:
            _, cache = model.step(torch.zeros(B, K, dtype=torch.int64), cache)
        costs.append(counter.get_total_flops())
    assert costs[0] > 0
    return costs
