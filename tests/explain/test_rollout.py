from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.explain.rollout import Rollout, roll_out
from captioner.explain.self_attention import image_layers
from captioner.models.attention import MultiHeadAttention
from captioner.models.captioner import Captioner
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.image_layers import ImageLayer
from tests.explain.conftest import captioned, make_captioner


def block_weights(captioner: Captioner, pixels: Tensor) -> list[Tensor]:
    """Every block's attention `[B, H, M, M]` from its input and the projections, as the formula says."""
    found: list[Tensor] = []

    def compute(module: Any, args: tuple[Tensor, ...]) -> None:
        (x,) = args
        B, M, D = x.shape
        H = module.num_heads
        q, k, _ = module.qkv(x).view(B, M, 3, H, D // H).permute(2, 0, 3, 1, 4)
        q, k = module.q_norm(q), module.k_norm(k)
        found.append((q @ k.transpose(-2, -1) / math.sqrt(D // H)).softmax(dim=-1))

    blocks = captioner.encoder.model.get_submodule("blocks")
    hooks = [block.get_submodule("attn").register_forward_pre_hook(compute) for block in blocks.children()]
    captioner.encoder(pixels)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("level", [None, 3])
def test_rollout_is_what_its_definition_says(level: int | None) -> None:
    torch.manual_seed(2)
    captioner = make_captioner(ImageEncoder("test_vit", (32, 48), level=level), image_depth=2)
    with torch.no_grad():
        for name, parameter in captioner.encoder.named_parameters():
            if "qkv" in name:
                parameter.mul_(6.0)  # or all attention would be even
        batch = captioned(captioner)
        weights = [w.double().numpy() for w in block_weights(captioner, batch.images)]
        x = captioner.encoder(batch.images)
        prefix, position = captioner.bridge.prefix_position, captioner.bridge.position
        assert prefix is not None
        assert position is not None
        h = captioner.bridge.project(captioner.bridge.norm_in(x.features)) + torch.cat(
            [prefix, position.flatten(1).T]
        )
        for layer in captioner.bridge.layers:
            assert isinstance(layer, ImageLayer)
            assert isinstance(layer.attention, MultiHeadAttention)
            normed = layer.attention_norm(h)
            _, own = layer.attention(normed, layer.attention.project(normed), need_weights=True)
            weights.append(own.double().numpy())
            h = layer(h)
    N = x.features.shape[1]
    for b in range(3):
        rolled = np.eye(7)
        for layer_weights in weights:
            mean = layer_weights[b].mean(axis=0)
            mixed = 0.5 * mean + 0.5 * np.eye(len(mean))
            rolled = mixed @ rolled[-len(mean) :]
        cross = batch.forced.attention[b, 0].mean(dim=(1, 2)).double().numpy()  # [L, N]
        expected = (cross @ rolled[-N:])[:, -6:].reshape(-1, 2, 3)
        np.testing.assert_allclose(Rollout()(batch)[b], expected, atol=1e-6)
    # It is not what the cross-attention alone says.
    assert np.abs(expected - cross[:, -6:].reshape(-1, 2, 3)).max() > 0.01


def test_no_mass_is_lost_and_none_made() -> None:
    weights = [torch.rand(2, 3, 5, 5).softmax(dim=-1) for _ in range(4)]
    torch.testing.assert_close(roll_out(weights).sum(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(roll_out([torch.eye(5).expand(2, 3, 5, 5)] * 4), torch.eye(5).expand(2, 5, 5))


def test_rollout_needs_attention_that_can_be_read(vit: Captioner, cnn: Captioner) -> None:
    Rollout().check(vit)
    with pytest.raises(UsageError, match=r"explain=rollout .*ViT, DeiT, DINOv2.*resnet10t"):
        Rollout().check(cnn)


def test_the_image_layers_are_those_between_encoder_and_decoder(vit: Captioner, cnn: Captioner) -> None:
    assert len(image_layers(vit)) == 1
    assert image_layers(cnn) == []
