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
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner, Memory
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What is known before training begins.

    Attributes:
        captioner: The model as training starts with it.
        train_set: Training images and their captions.
        tokenizer: The model's.
        transform: Brings a photo to the encoder's pixels.
        augmented: Whether training images are varied, so that boxes do not stay where they are.
        seed: Of everything that is drawn.
        init_from: The model file that the weights come from, for messages; None for random weights.
    """

    captioner: Captioner
    train_set: CaptionDataset
    tokenizer: Tokenizer
    transform: ImageTransform
    augmented: bool = False
    seed: int = 0
    init_from: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One training step.

    Attributes:
        batch: Images with their captions.
        memory: The images, encoded once for all that objectives do with them.
        step: Steps of the optimizer before this one.
        progress: The share of all steps that is over, 0–1.
    """

    batch: CaptionBatch
    memory: Memory
    step: int = 0
    progress: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What one step gives.

    Attributes:
        terms: Scalars by name, weighted; their sum is the loss.
        shown: Scalars by name that a user wants to see, without gradient.
    """

    terms: Mapping[str, Tensor]
    shown: Mapping[str, Tensor]


class Objective(Protocol):
    """What is learned."""

    def prepare(self, course: Course) -> None:
        """Look at the data once, before training.

        Raises:
            DataError: If the data lack what the objective needs.
            UsageError: If a setting does not go with the model or the data.
        """
        ...

    def __call__(self, captioner: Captioner, lesson: Lesson) -> Losses:
        """The loss of one step."""
        ...
