from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.objectives.cross_entropy import CrossEntropy

B, C, L, V, PAD = 2, 3, 4, 7, 0


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, C, L, V, generator=generator).to(dtype)
    targets = torch.randint(1, V, (B, C, L), generator=generator)
    targets[0, 1, 2:] = PAD
    targets[1, 2] = PAD  # a caption that the image lacks
    return logits, targets


def reference_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean over real tokens of the cross-entropy with (1 - s) on the target and s spread over all."""
    losses = []
    for row, target in zip(logits.reshape(-1, V), targets.flatten().tolist(), strict=True):
        if target != PAD:
            wanted = torch.full((V,), smoothing / V)
            wanted[target] += 1 - smoothing
            losses.append(-(wanted * row.log_softmax(0)).sum())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_it_is_the_smoothed_mean_over_real_tokens(smoothing: float) -> None:
    logits, targets = batch()
    loss = CrossEntropy(label_smoothing=smoothing)(logits, targets, pad_id=PAD)
    torch.testing.assert_close(loss, reference_loss(logits, targets, smoothing))


def test_padding_has_no_gradient() -> None:
    logits, targets = batch()
    logits.requires_grad_()
    CrossEntropy(label_smoothing=0.1)(logits, targets, pad_id=PAD).backward()
    assert logits.grad is not None
    has_gradient = logits.grad.abs().sum(-1) > 0
    assert torch.equal(has_gradient, targets != PAD)


def test_it_is_computed_in_float32() -> None:
    logits, targets = batch(torch.bfloat16)
    loss = CrossEntropy()(logits, targets, pad_id=PAD)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, F.cross_entropy(logits.float().flatten(0, 2), targets.flatten(), ignore_index=PAD)
    )


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(UsageError, match=f"objective.label_smoothing={smoothing}"):
        CrossEntropy(label_smoothing=smoothing)


def test_a_batch_without_captions_has_loss_0() -> None:
    logits = torch.randn(2, 1, 3, 5, requires_grad=True)
    loss = CrossEntropy(label_smoothing=0.1)(logits, torch.zeros(2, 1, 3, dtype=torch.long), pad_id=0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
