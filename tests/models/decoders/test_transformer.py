from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.models.decoders.transformer import TransformerDecoder

B, L, N, D, V = 2, 6, 5, 8, 11


def decoder(*, tie_weights: bool = True, dropout: float = 0.0, **sizes: Any) -> TransformerDecoder:
    torch.manual_seed(0)
    settings = {"depth": 2, "num_heads": 2, "max_length": 9, **sizes}
    made = TransformerDecoder(V, D, tie_weights=tie_weights, dropout=dropout, **settings)
    with torch.no_grad():  # zero biases and small branches would hide what they do not reach
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made.eval()


def inputs(captions: int = 3, images: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(V, (images, captions, L), generator=generator),
        torch.randn(images, N, D, generator=generator),
    )


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("captions", [1, 3])
@torch.no_grad()
def test_a_cached_step_equals_the_full_forward(captions: int, tie_weights: bool) -> None:
    model = decoder(tie_weights=tie_weights)
    tokens, memory = inputs(captions)
    expected = model(tokens, memory).logits
    cache = model.init_cache(memory, num_beams=captions)
    for t in range(L):
        logits, cache = model.step(tokens[:, :, t], cache)
        torch.testing.assert_close(logits, expected[:, :, t], atol=1e-5, rtol=0)
    assert cache.length == L


@pytest.mark.parametrize(
    "rows",
    [
        [[2, 0, 1], [1, 1, 1]],  # as many beams as before
        [[0], [2]],  # fewer
        [[0, 1, 2, 2, 0], [1, 0, 0, 1, 2]],  # more
    ],
)
@torch.no_grad()
def test_a_step_after_a_selection_equals_the_full_forward_of_what_was_selected(rows: list[list[int]]) -> None:
    model = decoder()
    tokens, memory = inputs(captions=3)
    selected = torch.tensor(rows)
    cache = model.init_cache(memory, num_beams=3)
    for t in range(3):
        _, cache = model.step(tokens[:, :, t], cache)
    cache.select(selected)
    kept = torch.stack([tokens[b, selected[b], :3] for b in range(B)])
    generator = torch.Generator().manual_seed(2)
    rest = torch.randint(V, (*selected.shape, 3), generator=generator)
    expected = model(torch.cat([kept, rest], dim=2), memory).logits
    for t in range(3):
        logits, cache = model.step(rest[:, :, t], cache)
        torch.testing.assert_close(logits, expected[:, :, 3 + t], atol=1e-5, rtol=0)
        if t == 0:  # and again, in the middle of a caption
            reverse = torch.arange(selected.shape[1]).flip(0).expand(B, -1)
            cache.select(reverse)
            rest, expected = rest.flip(1), expected.flip(1)


@pytest.mark.parametrize("grad", [False, True])
def test_asking_for_weights_changes_nothing(grad: bool) -> None:
    model = decoder()
    tokens, memory = inputs()
    with torch.set_grad_enabled(grad):
        plain = model(tokens, memory)
        shown = model(tokens, memory, need_weights=True)
    assert plain.cross_attention is None
    torch.testing.assert_close(plain.logits, shown.logits, atol=1e-5, rtol=0)
    weights = shown.cross_attention
    assert weights is not None
    assert weights.shape == (B, 3, L, 2, 2, N)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, 3, L, 2, 2), atol=1e-5, rtol=0)


@torch.no_grad()
def test_weights_are_those_of_the_caption_layer_and_head_they_are_said_to_be() -> None:
    model = decoder()
    tokens, memory = inputs()
    weights = model(tokens, memory, need_weights=True).cross_attention
    assert weights is not None
    # A hand-made pass of image 1, caption 2 alone, layer by layer.
    assert model.position_embedding is not None
    x = model.token_embedding(tokens[1:2, 2:3]) * D**0.5 + model.position_embedding(torch.arange(L))
    for number, (layer, image) in enumerate(zip(model.layers, model.project_image(memory[1:2]), strict=True)):
        h = layer.self_norm(x)[0]
        h, _ = layer.self_attention(h, layer.self_attention.project(h), causal=True)
        query = layer.cross_attention.query(layer.cross_norm(x + h[None])[0])
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = query[0, :, part] @ image.keys[0, head].T / 4**0.5
            torch.testing.assert_close(weights[1, 2, :, number, head], scores.softmax(-1), atol=1e-5, rtol=0)
        x, attended = layer.self_attend(x)
        x, _ = layer.cross_attend(x, image, attended)


@torch.no_grad()
def test_a_later_token_changes_nothing_earlier() -> None:
    model = decoder()
    tokens, memory = inputs()
    before = model(tokens, memory, need_weights=True)
    assert before.cross_attention is not None
    for t in range(1, L):
        changed = tokens.clone()
        changed[:, :, t] = (changed[:, :, t] + 1) % V
        after = model(changed, memory, need_weights=True)
        assert torch.equal(before.logits[:, :, :t], after.logits[:, :, :t])
        assert after.cross_attention is not None
        assert torch.equal(before.cross_attention[:, :, :t], after.cross_attention[:, :, :t])
        # and something later, so that the comparison means something
        assert not torch.equal(before.logits[:, :, t:], after.logits[:, :, t:])


def test_no_gradient_flows_from_a_prediction_to_a_later_token() -> None:
    model = decoder()
    tokens, memory = inputs(captions=1, images=1)
    embedded: list[Tensor] = []
    model.dropout.register_forward_hook(lambda _, __, output: embedded.append(output.requires_grad_()))
    logits = model(tokens, memory).logits
    for t in range(L):
        (gradient,) = torch.autograd.grad(logits[0, 0, t].sum(), embedded[0], retain_graph=True)
        reached = gradient[0, 0].abs().sum(-1) > 0
        assert reached.tolist() == [i <= t for i in range(L)]


@torch.no_grad()
def test_images_and_captions_do_not_see_each_other() -> None:
    model = decoder()
    tokens, memory = inputs(captions=3)
    together = model(tokens, memory, need_weights=True)
    assert together.cross_attention is not None
    for b in range(B):
        for c in range(3):
            alone = model(tokens[b : b + 1, c : c + 1], memory[b : b + 1], need_weights=True)
            torch.testing.assert_close(alone.logits[0, 0], together.logits[b, c], atol=1e-5, rtol=0)
            assert alone.cross_attention is not None
            torch.testing.assert_close(
                alone.cross_attention[0, 0], together.cross_attention[b, c], atol=1e-5, rtol=0
            )


@torch.no_grad()
def test_padding_at_the_right_changes_nothing_to_its_left() -> None:
    model = decoder()
    tokens, memory = inputs()
    padded = torch.cat([tokens[:, :, :4], torch.zeros(B, 3, 5, dtype=torch.int64)], dim=2)
    short = model(tokens[:, :, :4], memory).logits
    torch.testing.assert_close(model(padded, memory).logits[:, :, :4], short, atol=1e-5, rtol=0)


@pytest.mark.parametrize("captions", [1, 5])
def test_an_image_is_projected_once_for_all_its_captions_and_beams(captions: int) -> None:
    model = decoder()
    tokens, memory = inputs(captions)
    seen: list[tuple[int, ...]] = []
    for layer in model.layers:
        layer.cross_attention.key_value.register_forward_hook(
            lambda _, args, output: seen.append(tuple(output.shape))
        )
    model(tokens, memory)
    assert seen == [(B, N, 2 * D)] * 2
    cache = model.init_cache(memory, num_beams=captions)
    assert len(seen) == 4
    assert [tuple(image.keys.shape) for image in cache.image] == [(B, 2, N, D // 2)] * 2
    before = [(image.keys.data_ptr(), image.values.data_ptr()) for image in cache.image]
    for t in range(3):
        with torch.no_grad():
            model.step(tokens[:, :, t], cache)
            cache.select(torch.zeros(B, captions, dtype=torch.int64))
    # No step projects it again, and a selection of beams does not touch it.
    assert len(seen) == 4
    assert [(image.keys.data_ptr(), image.values.data_ptr()) for image in cache.image] == before
    assert [tuple(image.keys.shape) for image in cache.image] == [(B, 2, N, D // 2)] * 2


@torch.no_grad()
def test_the_cache_has_the_room_that_was_asked_for() -> None:
    model = decoder()
    tokens, memory = inputs()
    cache = model.init_cache(memory, num_beams=3, max_length=2)
    assert cache.max_length == 2
    assert [tuple(keys.shape) for keys in cache.keys] == [(B * 3, 2, 2, D // 2)] * 2
    for t in range(2):
        model.step(tokens[:, :, t], cache)
    with pytest.raises(UsageError, match="the cache is full after 2 tokens"):
        model.step(tokens[:, :, 2], cache)
    assert model.init_cache(memory, max_length=100).max_length == 9


@torch.no_grad()
def test_caches_of_one_decoder_are_independent() -> None:
    model = decoder()
    tokens, memory = inputs(captions=1)
    first, second = model.init_cache(memory), model.init_cache(memory)
    expected = model(tokens, memory).logits
    for t in range(3):
        a, _ = model.step(tokens[:, :, t], first)
        b, _ = model.step(tokens[:, :, t], second)
        assert torch.equal(a, b)
        torch.testing.assert_close(a, expected[:, :, t], atol=1e-5, rtol=0)


def test_a_caption_longer_than_the_position_table_is_refused() -> None:
    model = decoder(max_length=5)
    tokens, memory = inputs()
    with pytest.raises(UsageError, match=r"6 tokens.*max_length=5"):
        model(tokens, memory)


def test_every_weight_is_trained() -> None:
    for tie_weights in (True, False):
        model = decoder(tie_weights=tie_weights, max_length=L)
        tokens, memory = inputs()
        model(tokens, memory).logits.square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_tied_weights_are_one_tensor() -> None:
    tied, free = decoder(tie_weights=True), decoder(tie_weights=False)
    assert not any(name.startswith("head") for name in tied.state_dict())
    assert free.state_dict()["head.weight"].shape == (V, D)


def test_dropout_works_in_training_only() -> None:
    model = decoder(dropout=0.5)
    tokens, memory = inputs()
    assert torch.equal(model(tokens, memory).logits, model(tokens, memory).logits)
    model.train()
    assert not torch.equal(model(tokens, memory).logits, model(tokens, memory).logits)


@pytest.mark.parametrize("name", ["vocab_size", "dim", "depth", "max_length"])
def test_sizes_must_be_positive(name: str) -> None:
    sizes = {"vocab_size": V, "dim": D, "depth": 1, "max_length": 4, name: 0}
    with pytest.raises(UsageError, match=f"decoder {name}=0 must be at least 1"):
        TransformerDecoder(
            sizes["vocab_size"],
            sizes["dim"],
            depth=sizes["depth"],
            max_length=sizes["max_length"],
            num_heads=2,
        )


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, float("nan")])
def test_dropout_must_be_a_share(dropout: float) -> None:
    with pytest.raises(UsageError, match=f"dropout={dropout} .*0.*1"):
        TransformerDecoder(V, D, num_heads=2, dropout=dropout)


@pytest.mark.parametrize("mlp_ratio", [0.0, -1.0, 0.1])
def test_the_feed_forward_network_must_have_a_width(mlp_ratio: float) -> None:
    with pytest.raises(UsageError, match=f"mlp_ratio={mlp_ratio} "):
        TransformerDecoder(V, D, num_heads=2, mlp_ratio=mlp_ratio)
