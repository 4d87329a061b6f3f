from __future__ import annotations

import pytest
import torch

from captioner.errors import DataError, UsageError
from captioner.objectives.mixed import Mixed
from captioner.objectives.objective import TrainingStep
from captioner.objectives.self_critical import SelfCritical
from captioner.objectives.teacher_forcing import TeacherForcing
from tests.objectives.conftest import batch, captioner, course


def test_it_is_the_weighted_sum_of_both() -> None:
    model = captioner().train()
    lesson = TrainingStep(batch(model), step=2)
    forcing, critical = TeacherForcing(label_smoothing=0.1, z_loss=0.01), SelfCritical()
    mixed = Mixed(forcing, critical, teacher_forcing_weight=0.3, self_critical_weight=2.0)
    mixed.prepare(course(model))
    found = mixed(model, lesson)
    one, other = forcing(model, lesson), critical(model, lesson)
    expected = {name: 0.3 * term for name, term in one.terms.items()}
    expected["self_critical"] = 2.0 * other.terms["self_critical"]
    assert found.terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found.terms[name], term)
    assert found.shown.keys() == other.shown.keys()


def test_beside_teacher_forcing_it_may_start_from_nothing_and_have_hard_attention() -> None:
    model = captioner("lstm", hard=True).train()
    mixed = Mixed(TeacherForcing(), SelfCritical())
    mixed.prepare(course(model, started=False))
    terms = mixed(model, TrainingStep(batch(model))).terms
    assert terms.keys() == {"cross_entropy", "reinforce", "entropy", "self_critical"}
    sum(terms.values()).backward()  # type: ignore[union-attr]
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert not [name for name, p in named if p.grad is None], "other processes wait for every gradient"


def test_what_is_missing_is_told_by_the_part_that_needs_it() -> None:
    with pytest.raises(
        UsageError, match=r"objective.kl=0.1 keeps to the model .* give init_from=FILE, or kl=0"
    ):
        Mixed(TeacherForcing(), SelfCritical(kl=0.1)).prepare(course(captioner(), started=False))
    with pytest.raises(DataError, match="none of the 3 training images has a caption to learn from"):
        Mixed(TeacherForcing(), SelfCritical()).prepare(course(captioner(), [[], [], []]))


@pytest.mark.parametrize("name", ["teacher_forcing", "self_critical"])
@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_numbers_above_0(name: str, weight: float) -> None:
    with pytest.raises(UsageError, match=f"objective.{name}_weight={weight} must be a number above 0"):
        Mixed(TeacherForcing(), SelfCritical(), **{f"{name}_weight": weight})
