from __future__ import annotations

import pytest
import torch

from captioner.errors import UsageError
from captioner.objectives.objective import TrainingStep
from captioner.objectives.scheduled_sampling import SCHEDULES, ScheduledSampling, with_own_words
from captioner.objectives.teacher_forcing import TeacherForcing
from tests.objectives.conftest import BOS, EOS, PAD, SPECIAL, UNK, batch, captioner, course


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_share_grows_to_its_most(schedule: str) -> None:
    shares = [ScheduledSampling(0.25, schedule=schedule).share(p / 20) for p in range(21)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.25, rel=0.01)
    assert shares[0] == pytest.approx(0.25 if schedule == "constant" else 0, abs=0.001)
    assert ScheduledSampling(0.0, schedule=schedule).share(1.0) == 0


def test_schedules_rise_as_they_say() -> None:
    half = {name: ScheduledSampling(1.0, schedule=name).share(0.25) for name in SCHEDULES}
    assert half["constant"] == 1
    assert half["exponential"] > half["linear"] == 0.25 > half["inverse_sigmoid"]


def test_own_words_stand_where_the_first_pass_would_have_written_them() -> None:
    inputs = torch.tensor([[[BOS, 4, 5, UNK, 6, EOS, PAD], [BOS, 6, EOS, PAD, PAD, PAD, PAD]]])
    logits = torch.full((1, 2, 7, 8), -50.0)
    logits[..., [PAD, BOS, EOS, UNK]] = 50.0  # what is no word is never drawn, however likely
    logits[:, :, torch.arange(7), torch.tensor([4, 5, 6, 7, 4, 5, 6])] = 10.0
    all_own = with_own_words(inputs, logits, share=1.0, special=SPECIAL)
    assert all_own.tolist() == [[[BOS, 4, 5, 6, 7, EOS, PAD], [BOS, 4, EOS, PAD, PAD, PAD, PAD]]]
    assert torch.equal(with_own_words(inputs, logits, share=0.0, special=SPECIAL), inputs)


def test_words_are_drawn_by_their_probability_and_the_share_is_kept() -> None:
    torch.manual_seed(0)
    inputs = torch.full((1, 4000, 2), 4)
    logits = torch.zeros(1, 4000, 2, 8)
    logits[..., 5] = 2.0
    drawn = with_own_words(inputs, logits, share=0.5, special=SPECIAL)[0, :, 1]
    p = torch.tensor([0.0, 2.0, 0, 0]).softmax(0) * 0.5
    found = torch.bincount(drawn, minlength=8)[4:] / 4000
    torch.testing.assert_close(found, p + torch.tensor([0.5, 0, 0, 0]), atol=0.03, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_the_loss_is_that_of_the_second_pass(kind: str) -> None:
    model = captioner(kind).eval()
    objective = TeacherForcing(scheduled_sampling=0.6)
    objective.prepare(course(model))
    lesson = TrainingStep(batch(model), progress=1.0)
    tokens = lesson.batch.tokens
    torch.manual_seed(7)
    losses = objective(model, lesson)
    torch.manual_seed(7)
    features = model.encode(lesson.batch.images).features
    first = model.decoder(tokens[:, :, :-1], features).logits
    read = with_own_words(tokens[:, :, :-1], first, share=0.6, special=SPECIAL)
    assert not torch.equal(read, tokens[:, :, :-1])
    expected = objective.terms(model.decoder(read, features).logits, tokens[:, :, 1:], pad_id=PAD)
    torch.testing.assert_close(losses.terms["cross_entropy"], expected["cross_entropy"])
    assert float(losses.shown["own_words"]) == pytest.approx(0.6)


def test_at_the_start_it_is_teacher_forcing() -> None:
    model = captioner().eval()
    plain, scheduled = TeacherForcing(), TeacherForcing(scheduled_sampling=0.5)
    for objective in (plain, scheduled):
        objective.prepare(course(model))
    lesson = TrainingStep(batch(model), progress=0.0)
    assert torch.equal(
        plain(model, lesson).terms["cross_entropy"], scheduled(model, lesson).terms["cross_entropy"]
    )


def test_gradients_reach_every_weight_under_autocast() -> None:
    model = captioner().train()
    objective = TeacherForcing(scheduled_sampling=1.0, sampling_schedule="constant")
    objective.prepare(course(model))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(model, TrainingStep(batch(model))).terms["cross_entropy"]
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheduled_sampling": 1.5}, r"objective.scheduled_sampling=1.5 must be a share of words, 0 to 1"),
        ({"scheduled_sampling": float("nan")}, r"objective.scheduled_sampling=nan must be"),
        (
            {"sampling_schedule": "cosine"},
            "objective.sampling_schedule=cosine is unknown; choose from linear",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TeacherForcing(**settings)  # type: ignore[arg-type]
