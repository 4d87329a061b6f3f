"""Weighted sum of teacher forcing and self-critical training.

    loss = λ₁ teacher forcing (nats per token) + λ₂ self-critical (reward per caption)

The cross-entropy term keeps captions close to the references (Edunov et al. 2018; Paulus et al. 2018).
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
    """Both objectives on the same batch.

    Args:
        teacher_forcing: Objective on the captions of the batch.
        self_critical: Objective on captions sampled for its images.
        teacher_forcing_weight: λ₁.
        self_critical_weight: λ₂.

    Raises:
        UsageError: If a weight is not a finite number above 0.
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
                    f"objective.{name}_weight={weight} must be a finite number above 0; for one objective alone set "
                    "objective=teacher_forcing or objective=self_critical"
                )
        self._parts = (
            (teacher_forcing_weight, teacher_forcing),
            (self_critical_weight, self_critical),
        )

    def prepare(self, context: TrainingContext) -> None:
        """Prepare both objectives. Raises as they do."""
        for _, part in self._parts:
            part.prepare(dataclasses.replace(context, with_teacher_forcing=True))

    def __call__(self, captioner: Captioner, step: TrainingStep) -> Losses:
        """The terms of both, weighted."""
        weighted = [(weight, part(captioner, step)) for weight, part in self._parts]
        return Losses(
            {name: weight * term for weight, losses in weighted for name, term in losses.terms.items()},
            {name: value for _, losses in weighted for name, value in losses.metrics.items()},
            {name: count for _, losses in weighted for name, count in losses.counts.items()},
        )
