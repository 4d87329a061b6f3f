"""Log-probabilities of sampled captions under the sampling policy, with gradients.

A search never emits BOS, PAD or UNK, and at the last position only EOS; the remaining tokens are renormalised. So

    log π(y) = Σₜ log p(yₜ | y₁..ₜ₋₁) - log p(any allowed token | y₁..ₜ₋₁)

without the last position, where only one token is allowed.

Axis letters: `B` images, `K` captions of each image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.decoding import SpecialTokens
from captioner.models.decoders.decoder import Decoder


@dataclass(frozen=True, slots=True, eq=False)
class PolicyOutput:
    """Result of one teacher-forced pass over sampled captions.

    Attributes:
        logprobs: float32 `[B, K, L]` nats: of each token under the policy; 0 where it was not chosen.
        entropy: float32 `[B, K, L]` nats: of the distribution of each token, without gradient; 0 as `logprobs`.
        chosen: bool `[B, K, L]`: where a token was chosen among several, EOS included; False under padding and at the
            last position.
    """

    logprobs: Tensor
    entropy: Tensor
    chosen: Tensor


def policy(
    decoder: Decoder,
    features: Tensor,
    tokens: Tensor,
    special: SpecialTokens,
    *,
    max_length: int,
) -> PolicyOutput:
    """Score captions in one pass over all their tokens; equal to the step-by-step log-probabilities of the search.

    Args:
        decoder: In evaluation mode, as in the search.
        features: The memory `[B, N, D]`.
        tokens: int64 `[B, K, L]`: caption, EOS, padding; without BOS.
        special: Ids of control tokens.
        max_length: Maximum length of the search in tokens; at that position EOS was forced.
    """
    inputs = torch.cat([torch.full_like(tokens[:, :, :1], special.begin), tokens[:, :, :-1]], dim=2)
    chosen = tokens != special.pad
    if tokens.shape[-1] == max_length:
        chosen[:, :, -1] = False
    logits = decoder(inputs, features, real=chosen).logits.float()  # [M, V], of the M chosen tokens
    excluded = torch.tensor(sorted({special.pad, special.begin, *special.banned} - {special.end}))
    logits = logits.index_fill(-1, excluded.to(logits.device), float("-inf"))
    logprobs = -F.cross_entropy(logits, tokens[chosen], reduction="none")
    with torch.no_grad():
        entropy = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
    zeros = torch.zeros(tokens.shape, device=tokens.device)
    return PolicyOutput(zeros.masked_scatter(chosen, logprobs), zeros.masked_scatter(chosen, entropy), chosen)
