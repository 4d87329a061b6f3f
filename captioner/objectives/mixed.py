"""Can a model learn from people's captions and from its own at once? Teacher forcing and self-critical training mixed.

    loss = λ₁ teacher forcing (nats a token) + λ₂ self-critical (reward a caption)

Cross-entropy beside the reward keeps captions to what people write (Edunov et al. 2018; Paulus et al. 2018).
"""

from __future__ import annotations

import dataclasses
import math

from captioner.errors import UsageError
from captioner.models.captioner import Captioner
from captioner.objectives.objective import Losses, TrainingContext, TrainingStep
from captioner.objectives.self_critical import SelfCritical
from captioner.objectives.teacher_forcing import TeacherForcing


class Mixed:
    """A weighted sum of both objectives.

    Args:
        teacher_forcing: Learns from the captions of the batch.
        self_critical: Learns from captions drawn for its images.
        teacher_forcing_weight: λ₁.
        self_critical_weight: λ₂.

    Raises:
        UsageError: If a weight is no number above 0.
    """

    def __init__(
        self,
        teacher_forcing: TeacherForcing,
        self_critical: SelfCritical,
        *,
        teacher_forcing_weight: float = 0.1,
        self_critical_weight: float = 1.0,
    ) -> None:
        for name, weight in (
            ("teacher_forcing", teacher_forcing_weight),
            ("self_critical", self_critical_weight),
        ):
            if not 0 < weight < math.inf:
                raise UsageError(
                    f"objective.{name}_weight={weight} must be a number above 0; for one of them alone take "
                    "objective=teacher_forcing or objective=self_critical"
                )
        self._parts = (
            (teacher_forcing_weight, teacher_forcing),
            (self_critical_weight, self_critical),
        )

    def prepare(self, course: TrainingContext) -> None:
        """Prepare both; raises as they do."""
        for _, part in self._parts:
            part.prepare(dataclasses.replace(course, forced=True))

    def __call__(self, captioner: Captioner, lesson: TrainingStep) -> Losses:
        """All terms of both, weighted."""
        losses = [(weight, part(captioner, lesson)) for weight, part in self._parts]
        return Losses(
            {name: weight * term for weight, found in losses for name, term in found.terms.items()},
            {name: value for _, found in losses for name, value in found.shown.items()},
            {name: count for _, found in losses for name, count in found.counts.items()},
        )
