"""Parameter groups of the optimizer: encoder or not, with or without weight decay.

Without decay are parameters with fewer than two axes (biases, norms, LayerScale), embeddings of positions, and what the
encoder's timm model lists in `no_weight_decay()` (class and register tokens, relative position biases). Of the encoder
also tensors with at most one axis longer than 1, such as a LayerScale `[C, 1, 1]`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from captioner.models.captioner import Captioner
from captioner.models.encoders.encoder import ImageEncoder

_ENCODER = "encoder."
_POSITIONS = ("position", "pos_embed")


def parameter_groups(
    captioner: Captioner, *, lr: float, encoder_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The trained parameters in up to four groups, ordered by each group's first parameter.

    Args:
        captioner: The model; parameters that do not require gradients are left out.
        lr: Learning rate of bridge and decoder.
        encoder_lr: Learning rate of the encoder.
        weight_decay: Decay of the parameters that have any.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    excluded = _excluded_by_timm(captioner.encoder)
    for name, parameter in captioner.named_parameters():
        if parameter.requires_grad:
            in_encoder = name.startswith(_ENCODER)
            decays = _has_matrix_shape(parameter, in_encoder) and not (
                any(part in name for part in _POSITIONS)
                or any(fnmatchcase(name, pattern) for pattern in excluded)
            )
            groups.setdefault((in_encoder, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": encoder_lr if in_encoder else lr,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), parameters in groups.items()
    ]


def _has_matrix_shape(parameter: nn.Parameter, in_encoder: bool) -> bool:
    """Whether at least two axes count: any in bridge and decoder, those longer than 1 in the encoder."""
    axes = [size for size in parameter.shape if size != 1] if in_encoder else parameter.shape
    return len(axes) >= 2


def _excluded_by_timm(encoder: ImageEncoder) -> list[str]:
    """Names or patterns, below the captioner, of the parameters that timm trains without decay."""
    listed = getattr(encoder.model, "no_weight_decay", None)
    return [] if listed is None else [f"{_ENCODER}model.{name}" for name in listed()]
