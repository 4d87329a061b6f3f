"""Pixels of a batch, for tests of data sets without stored features."""

from __future__ import annotations

from torch import Tensor

from captioner.data.batch import CaptionBatch


def pixels(batch: CaptionBatch) -> Tensor:
    """The images of a batch, which are pixels."""
    assert isinstance(batch.images, Tensor)
    return batch.images
