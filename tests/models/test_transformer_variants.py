"""Does the Transformer keep its promises with every kind of cross-attention?"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captioner.decoding import BeamSearch, GreedySearch, SpecialTokens
from captioner.errors import UsageError
from captioner.models.decoders.transformer import TransformerDecoder

B, C, L, N, D, V, H, DEPTH = 2, 3, 6, 5, 8, 11, 4, 2

VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "sentinel": {"sentinel": True},
    "grouped": {"num_kv_heads": 2},
    "one key-value head": {"num_kv_heads": 1},
    "sparsemax": {"normaliser": "sparsemax"},
    "entmax15 with sentinel": {"normaliser": "entmax15", "sentinel": True},
    "off_by_one": {"normaliser": "off_by_one"},
    "sink, grouped": {"normaliser": "sink", "num_kv_heads": 2},
    "additive with sentinel": {"score": "additive", "sentinel": True},
    "general": {"score": "general"},
    "biased_dot": {"score": "biased_dot"},
    "read first": {"self_attention_first": True},
    "read first, sentinel": {"self_attention_first": True, "sentinel": True},
    "cosine, grouped, sentinel": {"score": "cosine", "num_kv_heads": 2, "sentinel": True},
}
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)


def decoder(settings: dict[str, object]) -> TransformerDecoder:
    torch.manual_seed(0)
    made = TransformerDecoder(V, D, depth=DEPTH, num_heads=H, max_length=9, dropout=0.0, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made.eval()


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (B, C, L), generator=generator), torch.randn(B, N, D, generator=generator)


@variants
@torch.no_grad()
def test_a_cached_step_equals_the_full_forward(settings: dict[str, object]) -> None:
    model = decoder(settings)
    tokens, memory = inputs()
    expected = model(tokens, memory).logits
    cache = model.init_cache(memory, num_beams=C)
    for t in range(L):
        logits, cache = model.step(tokens[:, :, t], cache)
        torch.testing.assert_close(logits, expected[:, :, t], atol=1e-5, rtol=0)
        if t == 2:  # beams change places
            turn = torch.tensor([[2, 0, 1], [1, 2, 0]])
            cache.select(turn)
            tokens = torch.stack([tokens[b, turn[b]] for b in range(B)])
            expected = torch.stack([expected[b, turn[b]] for b in range(B)])


@variants
@pytest.mark.parametrize("grad", [False, True])
def test_asking_for_weights_changes_nothing(settings: dict[str, object], grad: bool) -> None:
    model = decoder(settings)
    tokens, memory = inputs()
    with torch.set_grad_enabled(grad):
        plain, shown = model(tokens, memory), model(tokens, memory, need_weights=True)
    torch.testing.assert_close(plain.logits, shown.logits, atol=1e-5, rtol=0)
    weights = shown.cross_attention
    assert weights is not None
    assert weights.shape == (B, C, L, DEPTH, H, N + bool(settings.get("sentinel")))
    total = weights.detach().sum(-1)
    if settings.get("normaliser") in ("off_by_one", "sink"):
        assert float(total.max()) < 1 + 1e-6
    else:
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


@variants
@torch.no_grad()
def test_captions_images_and_later_tokens_are_not_seen(settings: dict[str, object]) -> None:
    model = decoder(settings)
    tokens, memory = inputs()
    together = model(tokens, memory, need_weights=True)
    alone = model(tokens[1:, 2:, :4], memory[1:], need_weights=True)
    torch.testing.assert_close(alone.logits[0, 0], together.logits[1, 2, :4], atol=1e-5, rtol=0)
    assert alone.cross_attention is not None
    assert together.cross_attention is not None
    torch.testing.assert_close(
        alone.cross_attention[0, 0], together.cross_attention[1, 2, :4], atol=1e-5, rtol=0
    )


@variants
def test_every_weight_is_trained(settings: dict[str, object]) -> None:
    model = decoder(settings)
    tokens, memory = inputs()
    model(tokens, memory).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@variants
def test_searches_find_what_teacher_forcing_says(settings: dict[str, object]) -> None:
    model = decoder(settings)
    _, memory = inputs()
    special = SpecialTokens(pad=0, begin=1, end=2, banned=())
    for search in (GreedySearch(max_length=7), BeamSearch(3, max_length=7)):
        found = search(model, memory, special)
        whole = torch.cat([torch.full_like(found.tokens[:, :, :1], 1), found.tokens[:, :, :-1]], dim=2)
        with torch.no_grad():
            logprobs = model(whole, memory).logits.log_softmax(-1).gather(-1, found.tokens[..., None])[..., 0]
        real = found.tokens != special.pad
        torch.testing.assert_close(found.token_logprobs[real], logprobs[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_sentinel_sees_the_caption_and_not_the_picture() -> None:
    model = decoder({"sentinel": True})
    seen: list[Tensor] = []
    sentinel = model.layers[0].sentinel
    assert sentinel is not None
    sentinel.register_forward_hook(lambda _, __, output: seen.append(output))
    tokens, memory = inputs()
    model(tokens, memory)
    model(tokens, memory + 1)
    model((tokens + 1) % V, memory)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_a_cache_of_grouped_heads_is_smaller() -> None:
    _, memory = inputs()
    full, grouped = (decoder({"num_kv_heads": heads}).init_cache(memory) for heads in (4, 1))
    assert [part.numel() for part in full.keys] == [4 * part.numel() for part in grouped.keys]


def test_insisting_on_a_fused_kernel_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"score=scaled_dot .*normaliser=sparsemax"):
        TransformerDecoder(V, D, num_heads=2, normaliser="sparsemax", fused=True)
