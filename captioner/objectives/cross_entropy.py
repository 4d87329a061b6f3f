"""How well is each next word predicted? Cross-entropy with label smoothing (Szegedy et al. 2016).

Axis letters: `B` images, `C` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from captioner.errors import UsageError


class CrossEntropy:
    """Mean negative log-likelihood (nats) of the tokens that are not padding.

    Args:
        label_smoothing: Share of the target's probability spread over the whole vocabulary, 0 to below 1.

    Raises:
        UsageError: If `label_smoothing` is out of range.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"objective.label_smoothing={label_smoothing} must be at least 0 and below 1")
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, targets: Tensor, *, pad_id: int, smooth: bool = True) -> Tensor:
        """The loss of logits `[B, C, L, V]` against targets int64 `[B, C, L]`, or of `[M, V]` against `[M]`.

        Args:
            logits: Predictions of each target.
            targets: Token ids; `pad_id` is ignored.
            pad_id: The padding.
            smooth: False leaves smoothing out, for a validation loss that is a log-likelihood.
        """
        total = F.cross_entropy(
            logits.flatten(0, -2).float(),
            targets.flatten(),
            ignore_index=pad_id,
            label_smoothing=self.label_smoothing if smooth else 0.0,
            reduction="sum",
        )
        return total / (targets != pad_id).sum().clamp(min=1)  # a batch without any caption costs nothing
