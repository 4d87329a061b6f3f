"""How do image tokens, and words, attend to each other? Reads the weights of attention layers while they compute.

Fused kernels keep no weights. For one pass the layers are told to compute plainly, which gives the same outputs, and
hooks take the weights, with their place in the autograd graph. Afterwards everything is as before.

Axis letters: `B` images, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.models.captioner import Captioner
from captioner.models.image_layers import ImageLayer
from captioner.models.image_tokens import ImageTokens


@contextmanager
def weights_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """While inside, the weights `[B, H, Q, N]` of our attention layers `modules`, in the order they compute."""
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


def is_vit(captioner: Captioner) -> bool:
    """Whether the encoder is a ViT whose attention can be read: each layer attends over all of its tokens."""
    return bool(_attention_layers(captioner.encoder.model))


def full_attention(weights: list[Tensor], tokens: ImageTokens, name: str) -> list[Tensor]:
    """The weights, if each is `[B, H, N, N]` over the encoder's own tokens.

    Raises:
        UsageError: If not: windows, pooled stages, merged cells.
    """
    N = tokens.features.shape[1]
    if not weights or any(
        w.ndim != 4 or w.shape[0] != len(tokens.features) or w.shape[2:] != (N, N) for w in weights
    ):
        raise UsageError(
            f"the attention of the encoder {name} does not run over all of its {N} tokens in every layer"
        )
    return weights


def _attention_layers(model: nn.Module) -> list[Any]:
    return [
        module
        for module in model.modules()
        if hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    ]
