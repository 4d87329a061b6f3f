from __future__ import annotations

import pytest
import torch

from captioner.errors import UsageError
from captioner.objectives.objective import TrainingStep
from captioner.objectives.scheduled_sampling import SCHEDULES, ScheduledSampling, replace_by_samples
from captioner.objectives.teacher_forcing import TeacherForcing
from tests.objectives.conftest import BOS, EOS, PAD, SPECIAL, UNK, batch, captioner, context


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_fraction_rises_to_its_final_value(schedule: str) -> None:
    fractions = [ScheduledSampling(0.25, schedule=schedule).fraction(p / 20) for p in range(21)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.25, rel=0.01)
    assert fractions[0] == pytest.approx(0.25 if schedule == "constant" else 0, abs=0.001)
    assert ScheduledSampling(0.0, schedule=schedule).fraction(1.0) == 0


def test_schedules_differ_in_their_shape() -> None:
    quarter = {name: ScheduledSampling(1.0, schedule=name).fraction(0.25) for name in SCHEDULES}
    assert quarter["constant"] == 1
    assert quarter["exponential"] > quarter["linear"] == 0.25 > quarter["inverse_sigmoid"]


def test_samples_replace_the_tokens_that_they_predict() -> None:
    inputs = torch.tensor([[[BOS, 4, 5, UNK, 6, EOS, PAD], [BOS, 6, EOS, PAD, PAD, PAD, PAD]]])
    logits = torch.full((1, 2, 7, 8), -50.0)
    logits[..., [PAD, BOS, EOS, UNK]] = 50.0  # control tokens are never sampled, however likely
    logits[:, :, torch.arange(7), torch.tensor([4, 5, 6, 7, 4, 5, 6])] = 10.0
    replaced = replace_by_samples(inputs, logits, fraction=1.0, special=SPECIAL)
    assert replaced.tolist() == [[[BOS, 4, 5, 6, 7, EOS, PAD], [BOS, 4, EOS, PAD, PAD, PAD, PAD]]]
    assert torch.equal(replace_by_samples(inputs, logits, fraction=0.0, special=SPECIAL), inputs)


def test_samples_follow_the_probabilities_and_the_fraction() -> None:
    torch.manual_seed(0)
    inputs = torch.full((1, 4000, 2), 4)
    logits = torch.zeros(1, 4000, 2, 8)
    logits[..., 5] = 2.0
    sampled = replace_by_samples(inputs, logits, fraction=0.5, special=SPECIAL)[0, :, 1]
    p = torch.tensor([0.0, 2.0, 0, 0]).softmax(0) * 0.5
    frequencies = torch.bincount(sampled, minlength=8)[4:] / 4000
    torch.testing.assert_close(frequencies, p + torch.tensor([0.5, 0, 0, 0]), atol=0.03, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_the_loss_is_that_of_the_second_pass(kind: str) -> None:
    model = captioner(kind).eval()
    objective = TeacherForcing(scheduled_sampling=0.6)
    objective.prepare(context(model))
    step = TrainingStep(batch(model), progress=1.0)
    tokens = step.batch.tokens
    torch.manual_seed(7)
    losses = objective(model, step)
    torch.manual_seed(7)
    features = model.encode(step.batch.images).features
    first = model.decoder(tokens[:, :, :-1], features).logits
    inputs = replace_by_samples(tokens[:, :, :-1], first, fraction=0.6, special=SPECIAL)
    assert not torch.equal(inputs, tokens[:, :, :-1])
    expected = objective.terms(model.decoder(inputs, features).logits, tokens[:, :, 1:], pad_id=PAD)
    torch.testing.assert_close(losses.terms["cross_entropy"], expected["cross_entropy"])
    assert float(losses.metrics["sampled_inputs"]) == pytest.approx(0.6)


def test_at_progress_0_it_is_teacher_forcing() -> None:
    model = captioner().eval()
    plain, scheduled = TeacherForcing(), TeacherForcing(scheduled_sampling=0.5)
    for objective in (plain, scheduled):
        objective.prepare(context(model))
    step = TrainingStep(batch(model), progress=0.0)
    assert torch.equal(
        plain(model, step).terms["cross_entropy"], scheduled(model, step).terms["cross_entropy"]
    )


def test_gradients_reach_every_weight_under_autocast() -> None:
    model = captioner().train()
    objective = TeacherForcing(scheduled_sampling=1.0, sampling_schedule="constant")
    objective.prepare(context(model))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(model, TrainingStep(batch(model))).terms["cross_entropy"]
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheduled_sampling": 1.5}, r"objective\.scheduled_sampling=1\.5 "),
        ({"scheduled_sampling": float("nan")}, r"objective\.scheduled_sampling=nan "),
        (
            {"sampling_schedule": "linaer"},
            "objective.sampling_schedule=linaer .*did you mean linear",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TeacherForcing(**settings)  # type: ignore[arg-type]
