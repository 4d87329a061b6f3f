"""Interface of training objectives: context and step in, weighted loss terms out.

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
    """What an objective may need before training starts.

    Attributes:
        captioner: The model with its initial weights.
        train_set: Training images and their captions.
        tokenizer: The model's tokenizer.
        special: Ids of control tokens.
        transform: Maps a photo to the encoder's input pixels.
        augmented: Whether training images are augmented, which moves boxes.
        seed: Seed of all sampling.
        pretrained: Whether the weights come from a trained model.
        with_teacher_forcing: Whether a teacher-forcing objective is trained beside this one.
    """

    captioner: Captioner
    train_set: CaptionDataset
    tokenizer: Tokenizer
    special: SpecialTokens
    transform: ImageTransform
    augmented: bool = False
    seed: int = 0
    pretrained: bool = False
    with_teacher_forcing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStep:
    """Input of one training step.

    Attributes:
        batch: Images with their captions; image tokens in place of pixels where the encoder is frozen.
        step: Number of optimizer steps before this one.
        progress: Fraction of all steps that is done, 0–1.
    """

    batch: CaptionBatch
    step: int = 0
    progress: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Output of one training step.

    Attributes:
        terms: Weighted scalars by name; their sum is the loss.
        metrics: Scalars by name to log, without gradient.
        counts: For each term, the number of tokens or images it is the mean of, as a scalar.
    """

    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    counts: Mapping[str, Tensor]


class Objective(Protocol):
    """A loss over a captioner and a training step."""

    def prepare(self, context: TrainingContext) -> None:
        """Check the model and the data once before training, and keep what later steps need.

        Raises:
            DataError: If the data lack what the objective needs.
            UsageError: If a setting does not fit the model or the data.
        """
        ...

    def __call__(self, captioner: Captioner, step: TrainingStep) -> Losses:
        """The loss of one step."""
        ...
