"""REINFORCE for hard attention: cells whose selection raised the likelihood of the caption become more probable.

    ∇ ≈ Σₜ (Rₜ - b) ∇ log αₜ,s  +  λ ∇ Σₜ H(αₜ),   Rₜ = Σ_{k≥t} log p(y_k)

The cell s drawn for token t can only affect the tokens from t on, so only their log-likelihood is its reward. The
baseline b is the mean reward at the same position of the other captions in the batch: unlike the paper's moving average
it is no state to be saved in checkpoints.

Sources: Xu et al. 2015, "Show, Attend and Tell", equations 11 and 12; Williams 1992; Kool et al. 2019
(leave-one-out baseline).

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `V` vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from captioner.models.decoders.decoder_output import Choice


def reinforce(logits: Tensor, targets: Tensor, choice: Choice, real: Tensor) -> Tensor:
    """A surrogate loss with REINFORCE's gradient, divided by the number of tokens as cross-entropy is.

    Args:
        logits: `[B, C, L, V]`.
        targets: int64 `[B, C, L]`.
        choice: The sampled cells; the heads' samples count as one joint action.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    logprobs = logits.detach().float().log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0] * real
    reward = logprobs.flip(-1).cumsum(dim=-1).flip(-1) * real  # [B, C, L]
    others = real.sum(dim=(0, 1)) - 1  # [L]
    baseline = (reward.sum(dim=(0, 1)) - reward) / others.clamp(min=1)
    advantage = (reward - baseline) * real
    return -(advantage * choice.logprob.float().sum(dim=-1)).sum() / real.sum().clamp(min=1)


def mean_entropy(choice: Choice, real: Tensor) -> Tensor:
    """Mean entropy (nats) of the attention distributions that cells were sampled from.

    Args:
        choice: The sampled cells.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    return (choice.entropy.float().mean(dim=-1) * real).sum() / real.sum().clamp(min=1)
