"""Are the gradients the same, and is less kept?"""

from __future__ import annotations

import pytest
import torch

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder
from captioner.training.recompute import recompute_activations


def kept_and_gradients(encoder: ImageEncoder) -> tuple[int, list[torch.Tensor]]:
    """Bytes of activations kept for the way back, and the gradients."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = encoder(pixels).features
        held = sum(kept.values())
    features.square().mean().backward()
    return held, [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_gradients_are_the_same_and_less_is_kept(name: str) -> None:
    encoder = ImageEncoder(name, [64, 64]).train()
    before, expected = kept_and_gradients(encoder)
    encoder.zero_grad()
    recompute_activations(encoder)
    after, found = kept_and_gradients(encoder)
    assert after < before / 1.5
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_frozen_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recompute_encoder=true spares what training the encoder keeps"):
        recompute_activations(ImageEncoder("resnet10t", [64, 64], trainable="none"))
