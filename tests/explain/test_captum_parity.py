"""Are our gradients and occlusions those of captum, which takes one word and one image at a time?"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from captum.attr import FeatureAblation, LayerGradCam, LayerIntegratedGradients
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor, nn

from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.occlusion import Occlusion, patches
from captioner.explain.teacher_forcing import CaptionedBatch, token_logprobs
from captioner.models.captioner import Captioner
from captioner.models.image_tokens import ImageTokens
from tests.explain.conftest import SPECIAL, captioned


class Features(nn.Module):
    """The encoder's features `[B, N, D]` alone, as a layer that captum can hold."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.encoder = captioner.encoder

    def forward(self, images: Tensor) -> Tensor:
        tokens: ImageTokens = self.encoder(images)
        return tokens.features.detach().requires_grad_()


class Read(nn.Module):
    """Log-probabilities `[B, L]` of one caption given images, through layers that captum can hold."""

    def __init__(self, batch: CaptionedBatch, b: int) -> None:
        super().__init__()
        self.captioner, self.memory = batch.captioner, batch.memory
        self.caption = batch.tokens[b : b + 1, None]
        self.features = Features(batch.captioner)
        self.grid = nn.Identity()  # of [B, D, rows, cols]

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        prefix, cells = features[:, : self.memory.num_prefix], features[:, self.memory.num_prefix :]
        grid = self.grid(cells.transpose(1, 2).unflatten(2, self.memory.grid))
        together = torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)
        memory = self.captioner.bridge(ImageTokens(together, self.memory.grid, self.memory.num_prefix))
        caption = self.caption.expand(len(images), -1, -1)
        return token_logprobs(self.captioner, memory.features, caption, SPECIAL)[:, 0]


def words(batch: CaptionedBatch) -> list[tuple[int, int]]:
    """Image and place of every token that is no padding."""
    return [(int(b), int(k)) for b, k in (batch.tokens != SPECIAL.pad).nonzero()]


def test_integrated_gradients(captioner: Captioner) -> None:
    """Gauss-Legendre from the features of a blank image, summed over channels: the same rule and baseline."""
    batch = captioned(captioner)
    found = IntegratedGradients(16).attribute(batch)  # [B, L, N]
    for b, k in words(batch):
        read = Read(batch, b)
        image = batch.images[b : b + 1]
        theirs = LayerIntegratedGradients(read, read.features).attribute(
            image, baselines=torch.zeros_like(image), target=k, n_steps=16, method="gausslegendre"
        )
        torch.testing.assert_close(found[b, k], theirs[0].sum(dim=-1).detach(), atol=1e-4, rtol=1e-3)
    assert float(found.abs().max()) > 0.02


def test_grad_cam(captioner: Captioner) -> None:
    """Weights are the mean gradient over the grid; prefix tokens have no place on it in either."""
    batch = captioned(captioner)
    found = GradCam()(batch)  # [B, L, rows, cols]
    for b, k in words(batch):
        read = Read(batch, b)
        theirs = LayerGradCam(read, read.grid).attribute(
            batch.images[b : b + 1], target=k, relu_attributions=True
        )
        torch.testing.assert_close(found[b, k], theirs[0, 0].detach(), atol=1e-4, rtol=1e-3)
    assert float(found.max()) > 0


@pytest.mark.parametrize("even", [True, False])
def test_occlusion(captioner: Captioner, even: bool) -> None:
    """A window that moves by its own size, and where cells look beside their even share, a mask of patches."""
    batch = captioned(captioner)
    if even:
        batch = replace(batch, memory=replace(batch.memory, cells=None))
    rows, cols = batch.memory.grid
    H, W = batch.images.shape[-2:]
    found = Occlusion()(batch)
    covers = patches((rows, cols), (H, W), batch.memory.cells)  # [P, H, W]
    number = covers.to(torch.uint8).argmax(dim=0)  # [H, W] of patch numbers
    for b, k in words(batch):
        read, image = Read(batch, b), batch.images[b : b + 1]
        if even:
            window = (3, H // rows, W // cols)
            theirs = CaptumOcclusion(read).attribute(image, window, strides=window, target=k, baselines=0)
        else:
            theirs = FeatureAblation(read).attribute(image, target=k, baselines=0, feature_mask=number)
        drops = torch.stack([theirs[0, 0][cover].mean() for cover in covers]).view(rows, cols)
        torch.testing.assert_close(found[b, k], drops.detach().float(), atol=1e-4, rtol=1e-3)
    assert float(found.abs().max()) > 0.05
