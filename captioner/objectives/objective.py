"""What does an objective take, and what does it give? A training step in, weighted terms of a loss out.

Axis letters: `B` images, `C` captions per image, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from captioner.data.batch import CaptionBatch
from captioner.data.samples import CaptionDataset
from captioner.decoding import SpecialTokens
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class TrainingContext:
    """What is known before training begins.

    Attributes:
        captioner: The model as training starts with it.
        train_set: Training images and their captions.
        tokenizer: The model's.
        special: The ids that are no words.
        transform: Brings a photo to the encoder's pixels.
        augmented: Whether training images are varied, so that boxes do not stay where they are.
        seed: Of everything that is drawn.
        started: Whether the weights come from a model file, so that the model can write already.
        forced: Whether another objective learns from people's captions beside this one.
    """

    captioner: Captioner
    train_set: CaptionDataset
    tokenizer: Tokenizer
    special: SpecialTokens
    transform: ImageTransform
    augmented: bool = False
    seed: int = 0
    started: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStep:
    """One training step.

    Attributes:
        batch: Images with their captions. A frozen encoder's tokens stand in place of pixels.
        step: Steps of the optimizer before this one.
        progress: The share of all steps that is over, 0–1.
    """

    batch: CaptionBatch
    step: int = 0
    progress: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What one step gives.

    Attributes:
        terms: Scalars by name, weighted; their sum is the loss.
        shown: Scalars by name that a user wants to see, without gradient.
        counts: Of each term, how many words or images it is the mean of: scalars.
    """

    terms: Mapping[str, Tensor]
    shown: Mapping[str, Tensor]
    counts: Mapping[str, Tensor]


class Objective(Protocol):
    """What is learned."""

    def prepare(self, course: TrainingContext) -> None:
        """Look at the data once, before training.

        Raises:
            DataError: If the data lack what the objective needs.
            UsageError: If a setting does not go with the model or the data.
        """
        ...

    def __call__(self, captioner: Captioner, lesson: TrainingStep) -> Losses:
        """The loss of one step."""
        ...
