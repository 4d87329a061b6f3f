"""How is an encoder trained in less memory? Its activations are thrown away and computed again (Chen et al. 2016)."""

from __future__ import annotations

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder


def recompute_activations(encoder: ImageEncoder) -> None:
    """Let the encoder keep only what its blocks begin with. The gradients are the same.

    Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.

    Raises:
        UsageError: If the encoder is frozen, or timm cannot do it for this model.
    """
    if encoder.frozen:
        raise UsageError(
            "recompute_encoder=true spares what training the encoder keeps, and encoder.trainable=none keeps nothing; "
            "leave one of them out"
        )
    try:
        encoder.model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"recompute_encoder=true: timm cannot do it for {encoder.name}; choose another encoder or a smaller batch"
        ) from error
