"""Recording of attention weights during a forward pass, by hooks.

Fused kernels keep no weights. Within the context managers of this module the layers compute attention unfused, which
gives the same outputs up to rounding, and hooks record the weights with their place in the autograd graph. On leaving,
the model is as before.

Axis letters: `B` images, `H` heads, `Q` queries, `N` image tokens, `M` tokens within the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captioner.explain.unsupported import UnsupportedMethodError
from captioner.models.captioner import Captioner
from captioner.models.encoders.image_layers import ImageLayer
from captioner.models.image_tokens import ImageTokens
from captioner.models.local_attention import WindowAttention


@contextmanager
def weights_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Record the weights `[B, H, Q, N]` of this package's attention layers, in order of computation."""
    recorded: list[Tensor] = []

    def request_weights(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True}

    def record(_: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> None:
        recorded.append(output[1])

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(request_weights, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(record).remove)
        yield recorded


@contextmanager
def encoder_weights(model: nn.Module) -> Iterator[list[Tensor]]:
    """Record the weights of a timm model's attention layers, in order of computation."""
    recorded: list[Tensor] = []

    def record(_: nn.Module, args: Any, output: Tensor) -> None:
        recorded.append(output)

    with ExitStack() as stack:
        for module in _attention_layers(model):
            stack.callback(setattr, module, "fused_attn", module.fused_attn)
            module.fused_attn = False
            # Without a fused kernel, timm passes the weights through this dropout (the identity in evaluation mode).
            stack.callback(module.attn_drop.register_forward_hook(record).remove)
        yield recorded


def image_layers(captioner: Captioner) -> list[nn.Module]:
    """The attention modules between encoder and decoder, in order."""
    return [module.attention for module in captioner.bridge.modules() if isinstance(module, ImageLayer)]


def global_weights(weights: list[Tensor], tokens: ImageTokens, model: nn.Module) -> list[Tensor]:
    """The weights that `encoder_weights` recorded if every layer attends over all image tokens, else [].

    Windowed attention, pooled stages and merged cells do not qualify. A ViT cut off at `level` returns no prefix
    tokens although its layers have them: then `M` is `N` plus their number.

    Args:
        weights: One tensor per layer.
        tokens: Output of the encoder in the same pass.
        model: The timm model.

    Returns:
        `[B, H, M, M]` per layer.
    """
    B, N, _ = tokens.features.shape
    sizes = {N, N + int(getattr(model, "num_prefix_tokens", 0))}
    square = all(w.ndim == 4 and w.shape[0] == B and w.shape[2] == w.shape[3] for w in weights)
    lengths = {w.shape[-1] for w in weights}
    return weights if square and len(lengths) == 1 and lengths <= sizes else []


@torch.no_grad()
def is_readable(captioner: Captioner) -> bool:
    """Whether the encoder is a ViT with global attention, as `global_weights` says: one pass on a blank image."""
    encoder, weight = captioner.encoder, next(captioner.parameters())
    with encoder_weights(encoder.model) as weights:
        tokens = encoder(weight.new_zeros(1, 3, *encoder.image_size))
    return bool(global_weights(weights, tokens, encoder.model))


def check_image_layers(captioner: Captioner, method: str) -> None:
    """Check that the attention between encoder and decoder has weights among all image tokens.

    Args:
        captioner: The model.
        method: Name of the explanation method, for the message.

    Raises:
        UnsupportedMethodError: If it runs within windows.
    """
    for attention in image_layers(captioner):
        if isinstance(attention, WindowAttention):
            raise UnsupportedMethodError(
                f"explain={method}: image tokens attend within windows of {attention.window} cells "
                "(model.image_window), so there are no weights among all of them; take attention, grad_cam, "
                "integrated_gradients or occlusion"
            )


def has_attention(model: nn.Module) -> bool:
    """Whether a timm model has attention layers."""
    return bool(_attention_layers(model))


def _attention_layers(model: nn.Module) -> list[Any]:
    return [
        module
        for module in model.modules()
        if hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    ]
