"""Which cells of the encoder's grid speak for a word? Grad-CAM and integrated gradients on the grid's features.

Sources: Selvaraju et al. 2017 (Grad-CAM); Sundararajan et al. 2017 (integrated gradients).

captum has both, and the tests hold these to it. They are written out since captum takes one word at a time and encodes
the photo for each: here it is encoded once, and Grad-CAM goes back for all words of a caption in one batched pass.

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
    """Grad-CAM: where the channels that speak for a word are active.

    map = ReLU(Σ_d α_d features_d), with α_d the mean over the grid of the gradient of log P(word).

    A decoder that attends may use a channel here and not there: the mean over the grid cannot tell. Weighting each
    cell by its own gradient would not help: behind the features stands a layer norm, and the gradient of what does not
    depend on their length is orthogonal to them.
    """

    name = "grad_cam"
    unit: Unit = "relevance"
    cost = "an encoder pass, and a backward pass through the decoder a token"

    def check(self, captioner: Captioner) -> None:
        """Every model has a grid."""

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]`, nowhere negative; without a unit, comparable within a caption."""
        with full_precision(batch.images.device, gradients=True):
            tokens = batch.image_tokens
            first = tokens.num_prefix
            maps = []
            for b in range(len(batch.images)):
                features = tokens.features[b : b + 1].detach().requires_grad_()  # [1, N, D]
                (gradient,) = token_gradients(_logprobs(batch, b, tokens, features), [features])
                channels = gradient[:, 0, first:].mean(dim=1)  # [W, D]
                maps.append((channels @ features[0].detach().T).clamp(min=0))
            return on_grid(torch.stack(maps), tokens.grid)


class IntegratedGradients:
    """How much of a word's log-probability, over that for a blank image, comes from each cell.

    The features go in a straight line from those of an image of the mean colour (what padding is) to those of the
    photo; the gradient is integrated on the way and summed over a cell's channels. All cells together, with class and
    register tokens, which are not on the map, give the whole difference of the log-probabilities. Pixels would take
    `steps` backward passes through the encoder for each word.

    Args:
        steps: Points of the Gauss-Legendre rule. With 24 the sum was right to 1 % on trained models, with 32 to 0.1 %.
        name: As the user spelt it.

    Raises:
        UsageError: If there is no step.
    """

    unit: Unit = "nats"
    cost = "an encoder pass, and a backward pass through the decoder a token and step"

    def __init__(self, steps: int = 24, *, name: str = "integrated_gradients") -> None:
        if steps < 1:
            raise UsageError(f"explain={name}: there must be at least 1 step")
        self.steps = steps
        self.name = name

    def check(self, captioner: Captioner) -> None:
        """Every model has a grid."""

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps `[B, L, rows, cols]` in nats; negative where a cell speaks against the word."""
        return on_grid(self.attribute(batch), batch.memory.grid)

    def attribute(self, batch: CaptionedBatch) -> Tensor:
        """Contributions `[B, L, N]` in nats of all image tokens, prefix tokens included."""
        places, shares = np.polynomial.legendre.leggauss(self.steps)
        with full_precision(batch.images.device, gradients=True):
            tokens = batch.image_tokens
            with torch.no_grad():
                blank = batch.captioner.encoder(torch.zeros_like(batch.images[:1])).features  # [1, N, D]
            at = torch.as_tensor((places + 1) / 2, dtype=blank.dtype, device=blank.device)[:, None, None]
            share = torch.as_tensor(shares / 2, dtype=blank.dtype, device=blank.device)
            found = []
            for b in range(len(batch.images)):
                difference = tokens.features[b] - blank[0]
                features = (blank + at * difference).requires_grad_()  # [steps, N, D]
                logprobs = _logprobs(batch, b, tokens, features).sum(dim=0)  # [W]
                # The steps fill a batch already: all words at once took half as long again.
                words = []
                for logprob in logprobs.unbind():
                    (gradient,) = torch.autograd.grad(logprob, features, retain_graph=True)
                    mean = (share @ gradient.flatten(1)).view_as(difference)  # [N, D]
                    words.append((mean * difference).sum(dim=-1))
                found.append(torch.stack(words))
            return torch.stack(found)


def _logprobs(batch: CaptionedBatch, b: int, tokens: ImageTokens, features: Tensor) -> Tensor:
    """Log-probabilities `[rows, L]` of image b's caption for each row of encoder features `[rows, N, D]`."""
    memory = batch.captioner.bridge(replace(tokens, features=features))
    caption = batch.tokens[b : b + 1, None].expand(len(features), -1, -1)
    return token_logprobs(batch.captioner, memory.features, caption, batch.special)[:, 0]
