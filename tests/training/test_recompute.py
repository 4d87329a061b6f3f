"""Activation checkpointing: equal gradients, fewer stored activations."""

from __future__ import annotations

import pytest
import torch

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder
from captioner.training.recompute import recompute_activations


def stored_and_gradients(encoder: ImageEncoder) -> tuple[int, list[torch.Tensor]]:
    """Bytes of activations stored for the backward pass, and the gradients."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = encoder(pixels).features
        stored = sum(sizes.values())
    features.square().mean().backward()
    return stored, [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_gradients_are_equal_and_less_is_stored(name: str) -> None:
    encoder = ImageEncoder(name, [64, 64]).train()
    before, expected = stored_and_gradients(encoder)
    encoder.zero_grad()
    recompute_activations(encoder)
    after, gradients = stored_and_gradients(encoder)
    assert after < before / 1.5
    assert len(gradients) == len(expected) > 0
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_frozen_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recompute_encoder=true .*encoder\.trainable=none"):
        recompute_activations(ImageEncoder("resnet10t", [64, 64], trainable="none"))
