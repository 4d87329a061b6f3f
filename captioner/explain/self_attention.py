"""How do image tokens, and words, attend to each other? Reads the weights of attention layers while they compute.

Fused kernels keep no weights. For one pass the layers are told to compute plainly, which gives the same outputs, and
hooks take the weights, with their place in the autograd graph. Afterwards everything is as before.

Axis letters: `B` images, `H` heads, `N` image tokens, `M` tokens within the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captioner.models.captioner import Captioner
from captioner.models.encoders.image_layers import ImageLayer
from captioner.models.image_tokens import ImageTokens


@contextmanager
def weights_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """While inside, the weights `[B, H, Q, N]` of this package's attention layers, in the order they compute."""
    found: list[Tensor] = []

    def ask(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True}

    def take(_: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> None:
        found.append(output[1])

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(ask, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(take).remove)
        yield found


@contextmanager
def encoder_weights(model: nn.Module) -> Iterator[list[Tensor]]:
    """While inside, the weights of a timm model's attention layers, in the order they compute."""
    found: list[Tensor] = []

    def take(_: nn.Module, args: Any, output: Tensor) -> None:
        found.append(output)

    with ExitStack() as stack:
        for module in _attention_layers(model):
            stack.callback(setattr, module, "fused_attn", module.fused_attn)
            module.fused_attn = False
            # Where timm computes plainly, it passes the weights through this dropout (of nothing, in evaluation).
            stack.callback(module.attn_drop.register_forward_hook(take).remove)
        yield found


def image_layers(captioner: Captioner) -> list[nn.Module]:
    """The attention modules between encoder and decoder, in order."""
    return [module.attention for module in captioner.bridge.modules() if isinstance(module, ImageLayer)]


def global_weights(weights: list[Tensor], tokens: ImageTokens, model: nn.Module) -> list[Tensor]:
    """What `encoder_weights` found, if each layer attends over all image tokens; else nothing.

    Windows, pooled stages and merged cells do not fit. A ViT cut off at `level` gives no prefix tokens, though its
    layers have them: then `M` is `N` and these.

    Args:
        weights: Of each layer.
        tokens: What the encoder gave in the same pass.
        model: The timm model.

    Returns:
        `[B, H, M, M]` a layer.
    """
    B, N, _ = tokens.features.shape
    sizes = {N, N + int(getattr(model, "num_prefix_tokens", 0))}
    fits = all(w.ndim == 4 and w.shape[0] == B and w.shape[2] == w.shape[3] for w in weights)
    found = {w.shape[-1] for w in weights}
    return weights if fits and len(found) == 1 and found <= sizes else []


def is_readable(captioner: Captioner) -> bool:
    """Whether the encoder is a ViT whose attention can be read; found out on a blank image.

    Raises:
        UsageError: If the image layers behind it have no weights, since they attend within windows.
    """
    weight = next(captioner.parameters())
    with torch.no_grad():
        with encoder_weights(captioner.encoder.model) as weights:
            tokens = captioner.encoder(weight.new_zeros(1, 3, *captioner.encoder.image_size))
        with weights_of(image_layers(captioner)):
            captioner.bridge(tokens)
    return bool(global_weights(weights, tokens, captioner.encoder.model))


def has_attention(model: nn.Module) -> bool:
    """Whether a timm model has attention layers at all."""
    return bool(_attention_layers(model))


def _attention_layers(model: nn.Module) -> list[Any]:
    return [
        module
        for module in model.modules()
        if hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    ]
