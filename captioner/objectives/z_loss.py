"""z-loss: the squared logarithm of the softmax denominator.

    log² Z,  Z = Σᵥ exp zᵥ

Softmax is invariant to a shift of all logits, so no other term keeps them from drifting, which loses precision in half
precision.

Source: Chowdhery et al. 2022, "PaLM", section 5 (with weight 1e-4).

Axis letters: `B` images, `C` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from torch import Tensor


def z_loss(logits: Tensor, real: Tensor) -> Tensor:
    """Mean of log² Z over tokens.

    Args:
        logits: `[B, C, L, V]`, or `[M, V]`.
        real: bool `[B, C, L]`, or `[M]`, False where a token is padding.
    """
    log_z = logits.float().logsumexp(dim=-1)
    return (log_z.square() * real).sum() / real.sum().clamp(min=1)
