"""Teacher-forced pass over chosen captions, which returns attention weights, logits and log-probabilities.

A search computes no attention weights. Its best captions go through the decoder once more with `need_weights=True`, all
tokens at once: the weights are those that produced the caption, and the log-probabilities equal the search's.

Axis letters: `B` images, `K` captions per image, `L` tokens, `H` heads, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from captioner.decoding import SpecialTokens, averaged_logprobs
from captioner.models.captioner import Captioner, Memory
from captioner.models.decoders.decoder import Decoder
from captioner.models.image_tokens import ImageTokens

Others = Sequence[tuple[Decoder, Tensor]]
"""The other models of an ensemble: their decoders, each with its own memory `[B, N, D]` of the images."""


@dataclass(frozen=True, slots=True, eq=False)
class TeacherForced:
    """Output of the teacher-forced pass.

    Attributes:
        token_logprobs: `[B, K, L]`, nats; 0 at padding.
        attention: `[B, K, L, layers, H, N]`: the cross-attention that predicted each token.
        logits: `[B, K, L, V]` at the position of each token; the averaged log-probabilities for an ensemble.
    """

    token_logprobs: Tensor
    attention: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class CaptionedBatch:
    """Images with one caption each, as explanation methods take them.

    Attributes:
        captioner: In evaluation mode.
        images: float `[B, 3, rows, cols]`, normalised.
        memory: The encoded images.
        tokens: int64 `[B, L]`: token ids, then EOS, then padding; without BOS.
        special: Ids of the special tokens.
        forced: Teacher-forced pass over `tokens` (`K` = 1).
        encoded: The encoder's output for `images`, from which `memory` was computed; None where it was not kept or not
            computed in full precision.
    """

    captioner: Captioner
    images: Tensor
    memory: Memory
    tokens: Tensor
    special: SpecialTokens
    forced: TeacherForced
    encoded: ImageTokens | None = None

    @cached_property
    def image_tokens(self) -> ImageTokens:
        """The encoder's output for `images` in full precision, without a gradient; computed once where not given.

        To be read outside `full_precision(gradients=True)`, whose attention kernels round differently.
        """
        with full_precision(self.images.device):
            if self.encoded is None:
                tokens: ImageTokens = self.captioner.encoder(self.images.clone())
                return tokens
            # Tensors of inference mode cannot take part in autograd; a copy made outside it can.
            return replace(self.encoded, features=self.encoded.features.detach().clone())

    @cached_property
    def full_memory(self) -> Memory:
        """The encoded images in full precision, without a gradient."""
        if self.encoded is not None:
            return self.memory
        with full_precision(self.images.device):
            return self.captioner.encode(self.image_tokens)


@torch.no_grad()
def teacher_force(
    captioner: Captioner,
    memory: Memory,
    tokens: Tensor,
    special: SpecialTokens,
    *,
    others: Others = (),
    average: str = "logprobs",
) -> TeacherForced:
    """Run the captions `tokens` `[B, K, L]` (EOS-terminated, padded) through the decoder with weights.

    Args:
        captioner: The model whose attention weights are returned.
        memory: Its encoded images.
        tokens: The captions.
        special: Ids of the special tokens.
        others: The other models of an ensemble, whose logits are averaged with its own.
        average: How they are averaged, as in `EnsembleDecoder`.
    """
    inputs = _inputs(tokens, special)
    output = captioner.decoder(inputs, memory.features, need_weights=True)
    logits = output.logits.float()
    if others:
        further = [decoder(inputs, features).logits for decoder, features in others]
        logits = averaged_logprobs([logits, *further], average=average)
    assert output.cross_attention is not None
    return TeacherForced(_of_tokens(logits, tokens, special), output.cross_attention.float(), logits)


def token_logprobs(captioner: Captioner, features: Tensor, tokens: Tensor, special: SpecialTokens) -> Tensor:
    """Log-probabilities `[B, K, L]` (nats, 0 where padded) of `tokens` given a memory `[B, N, D]`; differentiable."""
    output = captioner.decoder(_inputs(tokens, special), features)
    return _of_tokens(output.logits.float(), tokens, special)


@contextmanager
def full_precision(device: torch.device, *, gradients: bool = False) -> Iterator[None]:
    """Compute in the weights' own precision, with or without gradients, regardless of the caller's autocast and modes.

    Differences of log-probabilities of a hundredth are smaller than the rounding of bfloat16.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if gradients:  # fused kernels have no batched backward pass
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _inputs(tokens: Tensor, special: SpecialTokens) -> Tensor:
    """Decoder inputs `[B, K, L]`: BOS and the tokens shifted right."""
    return torch.cat([torch.full_like(tokens[:, :, :1], special.begin), tokens[:, :, :-1]], dim=2)


def _of_tokens(logits: Tensor, tokens: Tensor, special: SpecialTokens) -> Tensor:
    chosen = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(dim=-1)
    return chosen.masked_fill(tokens == special.pad, 0.0)
