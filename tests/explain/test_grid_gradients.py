from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.teacher_forcing import CaptionedBatch, token_logprobs
from captioner.models.captioner import Captioner
from captioner.models.image_tokens import ImageTokens
from tests.explain.conftest import SPECIAL, captioned


def logprobs(batch: CaptionedBatch, b: int, features: Tensor) -> Tensor:
    """Log-probabilities `[L]` of caption b for encoder features `[N, D]`."""
    tokens = ImageTokens(features[None], batch.memory.grid, batch.memory.num_prefix)
    memory = batch.captioner.bridge(tokens)
    return token_logprobs(batch.captioner, memory.features, batch.tokens[b : b + 1, None], SPECIAL)[0, 0]


def features_of(batch: CaptionedBatch) -> Tensor:
    with torch.no_grad():
        features: Tensor = batch.captioner.encoder(batch.images).features
    return features


def test_grad_cam_is_what_its_definition_says(captioner: Captioner) -> None:
    batch = captioned(captioner)
    maps = GradCam()(batch)
    rows, cols = batch.memory.grid
    for b in range(3):
        features = features_of(batch)[b].requires_grad_()
        for word in range(batch.tokens.shape[1]):
            total = logprobs(batch, b, features)
            gradient = torch.autograd.grad(total[word], features)[0] if total[word] != 0 else 0 * features
            on_grid = features.detach()[-rows * cols :].view(rows, cols, -1)
            alpha = gradient[-rows * cols :].mean(dim=0)
            expected = torch.stack([torch.stack([alpha @ cell for cell in row]) for row in on_grid]).relu()
            torch.testing.assert_close(maps[b, word], expected, atol=1e-6, rtol=1e-3)
    assert float(maps.max()) > 0


def test_integrated_gradients_are_complete(captioner: Captioner) -> None:
    """All image tokens together give what the photo changes of each word's log-probability."""
    batch = captioned(captioner)
    blank = replace(batch, images=torch.zeros_like(batch.images))
    found = IntegratedGradients(64).attribute(batch).sum(dim=-1)
    for b in range(3):
        with torch.no_grad():
            with_photo = logprobs(batch, b, features_of(batch)[b])
            without = logprobs(batch, b, features_of(blank)[b])
        torch.testing.assert_close(found[b], with_photo - without, atol=2e-3, rtol=2e-3)
    assert float(found.abs().max()) > 0.1
    few = IntegratedGradients().attribute(batch).sum(dim=-1)
    assert float((few - found).abs().max()) < 0.05 * float(found.abs().max())


def test_integrated_gradients_are_the_mean_gradient_on_the_way(cnn: Captioner) -> None:
    batch = captioned(cnn)
    photo, blank = (
        features_of(batch)[0],
        features_of(replace(batch, images=torch.zeros_like(batch.images)))[0],
    )
    steps = 150
    for word in (0, 3):
        total = torch.zeros_like(photo)
        for step in range(steps):
            features = (blank + (step + 0.5) / steps * (photo - blank)).requires_grad_()
            total += torch.autograd.grad(logprobs(batch, 0, features)[word], features)[0] / steps
        expected = (total * (photo - blank)).sum(dim=-1).view(4, 6)
        found = IntegratedGradients(64)(batch)[0, word]
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_there_must_be_a_step() -> None:
    with pytest.raises(UsageError, match=r"explain=integrated_gradients: .*at least 1"):
        IntegratedGradients(0)
