"""How does hard attention learn where to look? REINFORCE: a place that led to likelier words becomes likelier itself.

    ∇ ≈ Σₜ (Rₜ - b) ∇ log αₜ,s  +  λ ∇ Σₜ H(αₜ),   Rₜ = Σ_{k≥t} log p(y_k)

A place can only help the words from its own on, so only they are its reward. The baseline b is the mean reward, at the
same word, of the other captions of the batch: unlike the paper's moving average it is no state that a resumed run
would have to know.

Sources: Xu et al. 2015, "Show, Attend and Tell", equations 11 and 12; Williams 1992; Kool et al. 2019 (the others as
baseline).

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `V` vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from captioner.models.decoders.decoder_output import Choice


def reinforce(logits: Tensor, targets: Tensor, choice: Choice, real: Tensor) -> Tensor:
    """A loss whose gradient is REINFORCE's, divided by the tokens as cross-entropy is. Its value says nothing.

    Args:
        logits: `[B, C, L, V]`.
        targets: int64 `[B, C, L]`.
        choice: What was drawn; the heads' choices are one.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    logprobs = logits.detach().float().log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0] * real
    reward = logprobs.flip(-1).cumsum(dim=-1).flip(-1) * real  # [B, C, L]
    others = real.sum(dim=(0, 1)) - 1  # [L]
    baseline = (reward.sum(dim=(0, 1)) - reward) / others.clamp(min=1)
    advantage = (reward - baseline) * real
    return -(advantage * choice.logprob.float().sum(dim=-1)).sum() / real.sum().clamp(min=1)


def mean_entropy(choice: Choice, real: Tensor) -> Tensor:
    """Mean entropy (nats) of the distributions that places were drawn from.

    Args:
        choice: What was drawn.
        real: bool `[B, C, L]`, False where a token is padding.
    """
    return (choice.entropy.float().mean(dim=-1) * real).sum() / real.sum().clamp(min=1)
