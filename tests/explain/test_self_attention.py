from __future__ import annotations

import pytest
import torch

from captioner.explain.self_attention import (
    encoder_weights,
    global_weights,
    image_layers,
    is_readable,
    weights_of,
)
from captioner.models.captioner import Captioner
from captioner.models.encoders.encoder import ImageEncoder
from tests.explain.conftest import decoder_layers, images, make_captioner


def test_reading_changes_neither_the_output_nor_the_model(vit: Captioner) -> None:
    pixels = images(2)
    blocks = vit.encoder.model.blocks
    assert all(block.attn.fused_attn for block in blocks)
    with torch.no_grad():
        plain = vit.encoder(pixels)
        with encoder_weights(vit.encoder.model) as found:
            read = vit.encoder(pixels)
        torch.testing.assert_close(read.features, plain.features, atol=1e-5, rtol=1e-5)
        again = vit.encoder(pixels)
    assert len(found) == len(blocks)  # nothing was added by the pass after
    assert torch.equal(again.features, plain.features)
    assert all(block.attn.fused_attn for block in blocks)
    for weights in found:
        assert weights.shape == (2, 2, 7, 7)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 7))


def test_everything_is_as_before_after_an_error(vit: Captioner) -> None:
    with pytest.raises(ZeroDivisionError), encoder_weights(vit.encoder.model) as in_encoder:
        raise ZeroDivisionError
    assert all(block.attn.fused_attn for block in vit.encoder.model.blocks)
    with pytest.raises(ZeroDivisionError), weights_of(image_layers(vit)) as in_bridge:
        raise ZeroDivisionError
    with torch.no_grad():
        vit.encode(images(2))
    assert not in_encoder
    assert not in_bridge


def test_the_decoders_weights_are_those_it_gives_itself(vit: Captioner) -> None:
    tokens = torch.tensor([[[1, 5, 6]], [[1, 7, 4]]])
    layers = decoder_layers(vit)
    with torch.no_grad():
        memory = vit.encode(images(2)).features
        given = vit.decoder(tokens, memory, need_weights=True).cross_attention
        with weights_of([layer.cross_attention for layer in layers]) as read:
            vit.decoder(tokens, memory)
    assert given is not None
    # [B, H, L, 1 + N] a layer -> [B, 1, L, layers, H, 1 + N]
    torch.testing.assert_close(torch.stack(read, dim=1).permute(0, 3, 1, 2, 4)[:, None], given)


@pytest.mark.parametrize(
    ("name", "size", "level", "merge", "readable"),
    [
        ("test_vit", (32, 48), None, 1, True),
        ("test_vit", (32, 48), 2, 1, True),  # gives no class token, but its layers have one
        ("test_vit", (32, 32), 2, 2, False),  # cells are joined
        ("vit_small_patch14_reg4_dinov2", (28, 28), 1, 1, True),
        ("swin_tiny_patch4_window7_224", (64, 64), 1, 1, False),  # windows
        ("resnet10t", (32, 32), 2, 1, False),
    ],
)
def test_only_attention_over_all_tokens_is_read(
    name: str, size: tuple[int, int], level: int | None, merge: int, readable: bool
) -> None:
    captioner = make_captioner(ImageEncoder(name, size, level=level, merge=merge))
    assert is_readable(captioner) is readable
    with torch.no_grad(), encoder_weights(captioner.encoder.model) as found:
        tokens = captioner.encoder(torch.randn(3, 3, *size))
    assert bool(global_weights(found, tokens, captioner.encoder.model)) is readable
