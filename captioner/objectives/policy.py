"""How likely was a caption to be drawn? The distribution that sampling draws from, with gradients.

A search never writes BOS, PAD or UNK, and in the last place nothing but EOS: what remains is renormalised. So

    log π(y) = Σₜ log p(yₜ | y₁..ₜ₋₁) - log p(something that may be written | y₁..ₜ₋₁)

without the last place, where there is no choice.

Axis letters: `B` images, `K` captions of each image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.decoding import SpecialTokens
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What one teacher-forced pass says of captions that were drawn.

    Attributes:
        logprobs: float32 `[B, K, L]` nats: of each token under the policy; 0 where there was no choice.
        entropy: float32 `[B, K, L]` nats: of what each token was drawn from, without gradient; 0 as `logprobs`.
        chosen: bool `[B, K, L]`: where there was a choice, EOS included.
    """

    logprobs: Tensor
    entropy: Tensor
    chosen: Tensor


def policy(
    decoder: TransformerDecoder | LstmDecoder,
    features: Tensor,
    tokens: Tensor,
    special: SpecialTokens,
    *,
    max_length: int,
) -> Drawn:
    """Judge captions by one pass over all their tokens at once; equal to what the search computed step by step.

    Args:
        decoder: As the search had it: in evaluation mode.
        features: The memory `[B, N, D]`.
        tokens: int64 `[B, K, L]`: words, EOS, padding; without BOS.
        special: The ids that are no words.
        max_length: The search's longest caption in tokens: in that place EOS was no choice.
    """
    inputs = torch.cat([torch.full_like(tokens[:, :, :1], special.begin), tokens[:, :, :-1]], dim=2)
    chosen = tokens != special.pad
    if tokens.shape[-1] == max_length:
        chosen[:, :, -1] = False
    logits = decoder(inputs, features, real=chosen).logits.float()  # [M, V], for the tokens that were chosen
    never = torch.tensor(sorted({special.pad, special.begin, *special.banned} - {special.end}))
    logits = logits.index_fill(-1, never.to(logits.device), float("-inf"))
    logprobs = -F.cross_entropy(logits, tokens[chosen], reduction="none")
    with torch.no_grad():
        entropy = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
    nothing = torch.zeros(tokens.shape, device=tokens.device)
    return Drawn(nothing.masked_scatter(chosen, logprobs), nothing.masked_scatter(chosen, entropy), chosen)
