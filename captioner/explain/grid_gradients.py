"""Grad-CAM and integrated gradients on the features of the encoder's grid.

Sources: Selvaraju et al. 2017 (Grad-CAM); Sundararajan et al. 2017 (integrated gradients).

The tests compare both with captum's. captum takes one word at a time and encodes the photo for each; here the photo is
encoded once, and Grad-CAM runs one batched backward pass for all words of a caption.

Axis letters: `B` images, `W` words explained, `N` image tokens, `D` width of the encoder's features.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.attention import on_grid
from captioner.explain.gradients import token_gradients
from captioner.explain.teacher_forcing import CaptionedBatch, full_precision, token_logprobs
from captioner.models.captioner import Captioner
from captioner.models.image_tokens import ImageTokens


class GradCam:
    """Grad-CAM: activation of the channels whose gradient increases the word's log-probability.

    map = ReLU(Σ_d α_d features_d), with α_d the mean over the grid of the gradient of log P(word).

    A decoder with attention may use a channel in one cell and not in another, which the mean over the grid hides.
    Weighting each cell by its own gradient would not help: a layer norm follows the features, its output does not
    depend on their length, and so their gradient is orthogonal to them.
    """

    name = "grad_cam"
    unit: Unit = "relevance"
    cost = "a backward pass through the decoder per token"

    def check(self, captioner: Captioner) -> None:
        """Accept every model: all have a grid."""

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`, non-negative; no unit, comparable within a caption."""
        tokens = batch.image_tokens
        with full_precision(batch.images.device, gradients=True):
            first = tokens.num_prefix
            maps = []
            for b in range(len(batch.images)):
                features = tokens.features[b : b + 1].detach().requires_grad_()  # [1, N, D]
                (gradient,) = token_gradients(_logprobs(batch, b, tokens, features), [features])
                channels = gradient[:, 0, first:].mean(dim=1)  # [W, D]
                maps.append((channels @ features[0].detach().T).clamp(min=0))
            return on_grid(torch.stack(maps), tokens.grid)


class IntegratedGradients:
    """Integrated gradients: each cell's part in the difference of a word's log-probability to that for a blank image.

    The gradient is integrated along the straight line from the features of an image of the mean colour (the colour of
    padding) to those of the photo, and summed over a cell's channels. The sum over all cells and over class and
    register tokens, which are not on the map, is the whole difference. On pixels this would take `steps` backward
    passes through the encoder per word.

    Args:
        steps: Points of the Gauss-Legendre rule. On trained models the sum was right to 1 % with 24, to 0.1 % with 32.
        name: Name as the user wrote it.

    Raises:
        UsageError: If `steps` is below 1.
    """

    unit: Unit = "nats"
    cost = "an encoder pass, and a backward pass through the decoder per token and step"

    def __init__(self, steps: int = 24, *, name: str = "integrated_gradients") -> None:
        if steps < 1:
            raise UsageError(f"explain={name}: the number of steps must be at least 1")
        self.steps = steps
        self.name = name

    def check(self, captioner: Captioner) -> None:
        """Accept every model: all have a grid."""

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]` in nats; negative where a cell lowers the word's log-probability."""
        return on_grid(self.attribute(batch), batch.memory.grid)

    def attribute(self, batch: CaptionedBatch) -> Tensor:
        """Contributions `[B, L, N]` in nats of all image tokens, prefix tokens included."""
        places, shares = np.polynomial.legendre.leggauss(self.steps)
        tokens = batch.image_tokens
        with full_precision(batch.images.device, gradients=True):
            with torch.no_grad():
                blank = batch.captioner.encoder(torch.zeros_like(batch.images[:1])).features  # [1, N, D]
            at = torch.as_tensor((places + 1) / 2, dtype=blank.dtype, device=blank.device)[:, None, None]
            share = torch.as_tensor(shares / 2, dtype=blank.dtype, device=blank.device)
            per_image = []
            for b in range(len(batch.images)):
                difference = tokens.features[b] - blank[0]
                features = (blank + at * difference).requires_grad_()  # [steps, N, D]
                logprobs = _logprobs(batch, b, tokens, features).sum(dim=0)  # [W]
                # The steps already fill a batch: one batched pass over all words took 1.5 times as long.
                words = []
                for logprob in logprobs.unbind():
                    (gradient,) = torch.autograd.grad(logprob, features, retain_graph=True)
                    mean = (share @ gradient.flatten(1)).view_as(difference)  # [N, D]
                    words.append((mean * difference).sum(dim=-1))
                per_image.append(torch.stack(words))
            return torch.stack(per_image)


def _logprobs(batch: CaptionedBatch, b: int, tokens: ImageTokens, features: Tensor) -> Tensor:
    """Log-probabilities `[rows, L]` of image b's caption for each row of encoder features `[rows, N, D]`."""
    memory = batch.captioner.bridge(replace(tokens, features=features))
    caption = batch.tokens[b : b + 1, None].expand(len(features), -1, -1)
    return token_logprobs(batch.captioner, memory.features, caption, batch.special)[:, 0]
