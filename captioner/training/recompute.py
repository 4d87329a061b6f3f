"""Activation checkpointing of the encoder: less memory for a second forward pass (Chen et al. 2016)."""

from __future__ import annotations

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder


def recompute_activations(encoder: ImageEncoder) -> None:
    """Store only the inputs of the encoder's blocks and recompute the rest in the backward pass; gradients are equal.

    Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.

    Raises:
        UsageError: If the encoder is frozen, or timm does not support it for this model.
    """
    if encoder.frozen:
        raise UsageError(
            "recompute_encoder=true needs a trained encoder: with encoder.trainable=none no activations are stored; "
            "leave one of them out"
        )
    try:
        encoder.model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"recompute_encoder=true is not supported by timm's {encoder.name}; choose another encoder, or a smaller "
            "data.batch_size"
        ) from error
