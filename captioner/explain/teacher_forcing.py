"""What did the decoder think of every word of a caption it chose? One pass over the winners, all words at once.

A search carries no attention. Its winning captions go once more through the decoder with `need_weights=True`; the
weights are those that produced the caption, and the log-probabilities equal the search's.

Axis letters: `B` images, `K` captions per image, `L` tokens, `H` heads, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from captioner.decoding import SpecialTokens, averaged_logprobs
from captioner.models.captioner import Captioner, Memory
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder

Others = Sequence[tuple[TransformerDecoder | LstmDecoder, Tensor]]
"""The further models of an ensemble: their decoders, each with its own memory `[B, N, D]` of the images."""


@dataclass(frozen=True, slots=True, eq=False)
class TeacherForced:
    """What the second pass gives.

    Attributes:
        token_logprobs: `[B, K, L]` nats of the hypotheses' tokens; 0 where padded.
        attention: `[B, K, L, layers, H, N]`: the cross-attention with which each token was predicted.
        logits: `[B, K, L, V]` in the place of each token. Of an ensemble, its averaged log-probabilities.
    """

    token_logprobs: Tensor
    attention: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedBatch:
    """Images with the captions chosen for them: what a method explains.

    Attributes:
        captioner: In evaluation mode.
        images: float `[B, 3, rows, cols]`, normalised.
        memory: The encoded images.
        tokens: int64 `[B, L]`: the words, then EOS, then padding; without BOS.
        special: The ids that are no words.
        forced: The teacher-forced pass over `tokens` (`K` = 1).
    """

    captioner: Captioner
    images: Tensor
    memory: Memory
    tokens: Tensor
    special: SpecialTokens
    forced: TeacherForced

    @property
    def num_tokens(self) -> int:
        """`L`."""
        return self.tokens.shape[1]


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
        captioner: The model whose weights are read.
        memory: What it made of the images.
        tokens: The captions.
        special: The ids that are no words.
        others: The further models of an ensemble, which judge the tokens with it.
        average: Of an ensemble, as in `EnsembleDecoder`.
    """
    inputs = _inputs(tokens, special)
    output = captioner.decoder(inputs, memory.features, need_weights=True)
    logits = output.logits.float()
    if others:
        each = [decoder(inputs, features).logits for decoder, features in others]
        logits = averaged_logprobs([logits, *each], average=average)
    return TeacherForced(_of_tokens(logits, tokens, special), output.cross_attention.float(), logits)


def token_logprobs(captioner: Captioner, features: Tensor, tokens: Tensor, special: SpecialTokens) -> Tensor:
    """Log-probabilities `[B, K, L]` (nats, 0 where padded) of `tokens` given a memory `[B, N, D]`; differentiable."""
    output = captioner.decoder(_inputs(tokens, special), features)
    return _of_tokens(output.logits.float(), tokens, special)


@contextmanager
def full_precision(device: torch.device, *, gradients: bool = False) -> Iterator[None]:
    """Compute as the weights are stored, with or without gradients, whatever the caller has set.

    A drop of a log-probability by a hundredth would drown in the rounding of bf16.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if gradients:  # a fused kernel's backward pass takes one word at a time
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _inputs(tokens: Tensor, special: SpecialTokens) -> Tensor:
    """What the decoder has read before each token: BOS and the tokens before."""
    return torch.cat([torch.full_like(tokens[:, :, :1], special.begin), tokens[:, :, :-1]], dim=2)


def _of_tokens(logits: Tensor, tokens: Tensor, special: SpecialTokens) -> Tensor:
    chosen = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(dim=-1)
    return chosen.masked_fill(tokens == special.pad, 0.0)
