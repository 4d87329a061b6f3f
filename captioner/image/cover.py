"""What does a model learn of covered photos? Patches of some training images are hidden, as explanations hide them.

Deletion, insertion and occlusion ask a model about photos that are partly covered. One that never saw such photos
answers with whatever it says for want of evidence, as sure of it as before, and the answer tells nothing.

Source: Hase et al. 2021, "The out-of-distribution problem in explainability and search methods for feature importance
explanations": let the model see in training what explanations will show it.
"""

from __future__ import annotations

import torch
from torch import Tensor

PATCHES = 12
"""A side: as fine as the grids whose cells explanations cover."""


def cover(image: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Cover patches of an image at times.

    Args:
        image: float `[3, rows, cols]`, normalised: 0 is the mean colour, which covers.
        chance: 0–1, of covering anything. Then each of `PATCHES` x `PATCHES` patches is covered with a probability
            that is itself drawn, so that any share of the image may be.
        generator: Source of all randomness; each call draws the same number of values from it.

    Returns:
        The image itself, or a covered copy.
    """
    drawn = torch.rand(2 + PATCHES * PATCHES, generator=generator)
    some, share, patches = drawn[0], drawn[1], drawn[2:].reshape(PATCHES, PATCHES)
    if some >= chance:
        return image
    hidden = patches < share
    rows, cols = (torch.arange(side) * PATCHES // side for side in image.shape[-2:])
    return image.masked_fill(hidden[rows][:, cols], 0.0)
