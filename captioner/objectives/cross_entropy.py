"""Cross-entropy with label smoothing (Szegedy et al. 2016).

Axis letters: `B` images, `C` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from captioner.errors import UsageError


class CrossEntropy:
    """Mean negative log-likelihood (nats) over the tokens that are not padding.

    Args:
        label_smoothing: Fraction of the target's probability spread evenly over the vocabulary, in [0, 1).

    Raises:
        UsageError: If `label_smoothing` is out of range.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"objective.label_smoothing={label_smoothing} must be at least 0 and below 1")
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, targets: Tensor, *, pad_id: int) -> Tensor:
        """The loss of logits `[B, C, L, V]` against targets int64 `[B, C, L]`, or of `[M, V]` against `[M]`.

        Args:
            logits: The prediction of each target.
            targets: Token ids; `pad_id` is ignored.
            pad_id: Id of the padding token.
        """
        total = F.cross_entropy(
            logits.flatten(0, -2).float(),
            targets.flatten(),
            ignore_index=pad_id,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return total / (targets != pad_id).sum().clamp(min=1)  # 0 for a batch without captions
