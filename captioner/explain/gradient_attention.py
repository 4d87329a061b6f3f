"""Attention weighted by its gradient (Chefer, Gur & Wolf 2021).

"Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers": in each layer
Ā = mean over heads of (∇A ⊙ A)⁺, with the gradient of the word's log-probability. Relevance accumulates from the first
layer to the last:

    self-attention     R_ss ← R_ss + Ā R_ss,  R_si ← R_si + Ā R_si      (equations 6, 7)
    cross-attention    R_si ← R_si + R̄_ssᵀ Ā R̄_ii                       (equation 10)

for words s and image tokens i, where R̄ is R with the rows of R − I normalised to sum 1 (equations 8, 9). The word's map
is its own row of R_si.

Axis letters: `W` words explained, `B` images, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.explain.attention import on_grid
from captioner.explain.gradients import token_gradients
from captioner.explain.self_attention import (
    check_image_layers,
    encoder_weights,
    global_weights,
    has_attention,
    image_layers,
    weights_of,
)
from captioner.explain.teacher_forcing import CaptionedBatch, full_precision, token_logprobs
from captioner.explain.unsupported import UnsupportedMethodError
from captioner.models.captioner import Captioner
from captioner.models.decoders.decoder_stack import DecoderStack
from captioner.models.decoders.transformer import TransformerDecoder


class GradientAttention:
    """Gradient-weighted attention of the decoder, the image layers and, where it can be recorded, the encoder.

    Relevance of class and register tokens is not on the map.
    """

    name = "gradient_attention"
    unit: Unit = "relevance"
    cost = "an encoder pass, and a backward pass per token"

    def check(self, captioner: Captioner) -> None:
        """Check that the decoder is a Transformer and that the image layers have weights; any encoder will do.

        Raises:
            UnsupportedMethodError: If not.
        """
        if _stack(captioner) is None:
            raise UnsupportedMethodError(
                "explain=gradient_attention needs a Transformer decoder; with this one take attention, grad_cam, "
                "integrated_gradients or occlusion"
            )
        check_image_layers(captioner, self.name)

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`, non-negative; no unit, comparable within a caption."""
        # One image at a time: the gradients of all words with respect to all weights are in memory at once.
        maps = [self._relevance(batch, b) for b in range(len(batch.images))]
        return on_grid(torch.stack(maps), batch.memory.grid)

    def _relevance(self, batch: CaptionedBatch, b: int) -> Tensor:
        """Relevance `[W, N]` of the image tokens for each token of image b's caption."""
        captioner = batch.captioner
        layers = _stack(captioner)
        assert layers is not None, "checked by check()"
        model = captioner.encoder.model
        with full_precision(batch.images.device, gradients=True):
            with encoder_weights(model) as in_encoder:
                tokens = captioner.encoder(
                    batch.images[b : b + 1].clone().requires_grad_(has_attention(model))
                )
            in_encoder = global_weights(in_encoder, tokens, model)
            if not in_encoder:
                tokens = replace(tokens, features=tokens.features.detach().requires_grad_())
            with weights_of(image_layers(captioner)) as in_bridge:
                memory = captioner.bridge(tokens)
            with (
                weights_of([layer.self_attention for layer in layers]) as own,
                weights_of([layer.cross_attention for layer in layers]) as cross,
            ):
                logprobs = token_logprobs(
                    captioner, memory.features, batch.tokens[b : b + 1, None], batch.special
                )[0]
            image = [*in_encoder, *in_bridge]
            weights = [*image, *own, *cross]
            gradients = token_gradients(logprobs, weights)
            # (∇A ⊙ A)⁺: [W, 1, H, Q, K] -> [W, Q, K]
            weighted = [
                (g * w.detach()).clamp(min=0).mean(dim=2)[:, 0]
                for g, w in zip(gradients, weights, strict=True)
            ]
            N = memory.features.shape[1]
            return gather_relevance(
                weighted[: len(image)],
                weighted[len(image) : len(image) + len(own)],
                # Attention on a sentinel belongs to no image token.
                [w[..., -N:] for w in weighted[len(image) + len(own) :]],
                self_attention_first=layers.self_attention_first,
            )


def gather_relevance(
    image: Sequence[Tensor],
    own: Sequence[Tensor],
    cross: Sequence[Tensor],
    *,
    self_attention_first: bool = False,
) -> Tensor:
    """Relevance `[W, N]` of the image tokens for each word, accumulated from the first layer to the last.

    Args:
        image: Ā of the self-attention of image tokens, `[W, N, N]` per layer; later layers may have fewer tokens: the
            last ones.
        own: Ā of the decoder's self-attention, `[W, L, L]` per layer, with `W = L`.
        cross: Ā of the cross-attention, `[W, L, N]` per layer.
        self_attention_first: Whether all self-attention of the decoder precedes all cross-attention.
    """
    L = cross[0].shape[1]
    among_image = _identity(cross[0], image[0].shape[-1] if image else cross[0].shape[-1])
    for weights in image:
        among_image = among_image[:, -weights.shape[-1] :]
        among_image = among_image + weights @ among_image
    among_image = _normalised(among_image[:, -cross[0].shape[-1] :])
    among_words = _identity(cross[0], L)
    to_image = cross[0].new_zeros(L, L, among_image.shape[-1])
    layers = list(zip(own, cross, strict=True))
    for group in [layers] if self_attention_first else [[layer] for layer in layers]:
        for weights, _ in group:
            to_image = to_image + weights @ to_image
            among_words = among_words + weights @ among_words
        for _, weights in group:
            to_image = to_image + _normalised(among_words).transpose(1, 2) @ weights @ among_image
    return to_image.diagonal(dim1=0, dim2=1).T  # row w of word w: [W, L, N] -> [W, N]


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device).expand(like.shape[0], -1, -1)


def _normalised(relevance: Tensor) -> Tensor:
    """R − I with rows that sum to 1, plus I."""
    identity = _identity(relevance, relevance.shape[-1])[:, -relevance.shape[1] :]
    beyond = relevance - identity
    total = beyond.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, beyond / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0) + identity


def _stack(captioner: Captioner) -> DecoderStack | None:
    return captioner.decoder.layers if isinstance(captioner.decoder, TransformerDecoder) else None
