"""Random covering of patches of training images, as explanations by perturbation cover them.

Deletion, insertion and occlusion evaluate a model on partly covered photos. These are out of distribution for a model
trained without them, so that its outputs there are arbitrary but confident.

Source: Hase et al. 2021, "The out-of-distribution problem in explainability and search methods for feature importance
explanations": train the model on the inputs that explanations will use.
"""

from __future__ import annotations

import torch
from torch import Tensor

PATCHES = 12
"""Patches per side: as fine as the grids whose cells explanations cover."""


def cover(image: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Cover patches of an image with some probability.

    Args:
        image: float `[3, rows, cols]`, normalised: covered pixels become 0, the mean colour.
        probability: 0–1, of covering any patch. Then each of `PATCHES` x `PATCHES` patches is covered with a
            probability that is itself sampled, so that every covered share occurs.
        generator: Source of all randomness; each call draws the same number of values from it.

    Returns:
        The image itself, or a covered copy.
    """
    drawn = torch.rand(2 + PATCHES * PATCHES, generator=generator)
    any_patch, share, patches = drawn[0], drawn[1], drawn[2:].reshape(PATCHES, PATCHES)
    if any_patch >= probability:
        return image
    hidden = patches < share
    rows, cols = (torch.arange(side) * PATCHES // side for side in image.shape[-2:])
    return image.masked_fill(hidden[rows][:, cols], 0.0)
