from __future__ import annotations

import torch

from captioner.models.attention import KeyValue
from captioner.models.cache import DecoderCache

LAYERS, B, K, H, T, d = 2, 2, 3, 2, 4, 3


def empty() -> DecoderCache:
    image = tuple(KeyValue(torch.randn(B, H, 5, d), torch.randn(B, H, 5, d)) for _ in range(LAYERS))
    return DecoderCache(image, torch.zeros(LAYERS, B * K, H, T, d), torch.zeros(LAYERS, B * K, H, T, d))


def token(value: float) -> KeyValue:
    """One token's keys, telling their row by their fraction."""
    rows = torch.arange(B * K).view(-1, 1, 1, 1) / 10 + value
    return KeyValue(rows.expand(-1, H, 1, d).clone(), -rows.expand(-1, H, 1, d).clone())


def test_what_was_appended_comes_back_in_order() -> None:
    cache = empty()
    for t in range(3):
        for layer in range(LAYERS):
            kept = cache.append(layer, token(10 * layer + t))
            assert kept.keys.shape == (B * K, H, t + 1, d)
            expected = torch.cat([token(10 * layer + s).keys for s in range(t + 1)], dim=2)
            assert torch.equal(kept.keys, expected)
            assert torch.equal(kept.values, -expected)
        cache.length += 1
    assert cache.max_length == T


def test_selection_takes_beams_of_the_same_image() -> None:
    cache = empty()
    for layer in range(LAYERS):
        cache.append(layer, token(layer))
    cache.length = 1
    cache.select(torch.tensor([[2, 2], [0, 1]]))
    assert cache.keys.shape[1] == B * 2
    tenths = (cache.keys[0, :, 0, 0, 0] * 10).round().int().tolist()
    assert tenths == [2, 2, 3, 4]
    assert torch.equal(cache.values, -cache.keys)
    # The new number of beams counts from now on.
    cache.select(torch.tensor([[1, 0, 0], [1, 0, 1]]))
    tenths = (cache.keys[0, :, 0, 0, 0] * 10).round().int().tolist()
    assert tenths == [2, 2, 2, 4, 3, 4]
