from __future__ import annotations

import pytest
import torch

from captioner.errors import DataError, UsageError
from captioner.objectives.mixed import Mixed
from captioner.objectives.objective import TrainingStep
from captioner.objectives.self_critical import SelfCritical
from captioner.objectives.teacher_forcing import TeacherForcing
from tests.objectives.conftest import batch, captioner, context


def test_it_is_the_weighted_sum_of_both() -> None:
    model = captioner().train()
    step = TrainingStep(batch(model), step=2)
    forcing, critical = TeacherForcing(label_smoothing=0.1, z_loss=0.01), SelfCritical()
    mixed = Mixed(forcing, critical, teacher_forcing_weight=0.3, self_critical_weight=2.0)
    mixed.prepare(context(model))
    losses = mixed(model, step)
    one, other = forcing(model, step), critical(model, step)
    expected = {name: 0.3 * term for name, term in one.terms.items()}
    expected["self_critical"] = 2.0 * other.terms["self_critical"]
    assert losses.terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(losses.terms[name], term)
    assert losses.metrics.keys() == other.metrics.keys()


def test_with_teacher_forcing_the_model_may_be_untrained_and_have_hard_attention() -> None:
    model = captioner("lstm", hard=True).train()
    mixed = Mixed(TeacherForcing(), SelfCritical())
    mixed.prepare(context(model, pretrained=False))
    terms = mixed(model, TrainingStep(batch(model))).terms
    assert terms.keys() == {"cross_entropy", "reinforce", "entropy", "self_critical"}
    sum(terms.values()).backward()  # type: ignore[union-attr]
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert not [name for name, p in named if p.grad is None], "distributed training waits for every gradient"


def test_each_objective_checks_its_own_requirements() -> None:
    with pytest.raises(UsageError, match=r"objective\.kl=0\.1 .*init_from=FILE"):
        Mixed(TeacherForcing(), SelfCritical(kl=0.1)).prepare(context(captioner(), pretrained=False))
    with pytest.raises(DataError, match="none of the 3 training images"):
        Mixed(TeacherForcing(), SelfCritical()).prepare(context(captioner(), [[], [], []]))


@pytest.mark.parametrize("name", ["teacher_forcing", "self_critical"])
@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(name: str, weight: float) -> None:
    with pytest.raises(UsageError, match=f"objective.{name}_weight={weight} "):
        Mixed(TeacherForcing(), SelfCritical(), **{f"{name}_weight": weight})
