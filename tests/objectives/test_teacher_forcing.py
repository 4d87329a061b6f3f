from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.errors import UsageError
from captioner.models.decoders.decoder_output import Choice
from captioner.objectives.attention_supervision import FLOOR, attention_supervision
from captioner.objectives.cross_entropy import CrossEntropy
from captioner.objectives.doubly_stochastic import doubly_stochastic
from captioner.objectives.image_attention_penalty import image_attention_penalty
from captioner.objectives.reinforce import reinforce
from captioner.objectives.teacher_forcing import TeacherForcing
from captioner.objectives.z_loss import z_loss

B, C, L, LAYERS, H, N, V, PAD = 2, 3, 4, 2, 2, 5, 7, 0


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets and attention; caption (0, 1) is short, and image 1 has no third caption."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, C, L, V, generator=generator, dtype=torch.float64)
    targets = torch.randint(1, V, (B, C, L), generator=generator)
    targets[0, 1, 2:] = PAD
    targets[1, 2] = PAD
    attention = torch.rand(B, C, L, LAYERS, H, N, generator=generator, dtype=torch.float64)
    return logits, targets, attention / attention.sum(-1, keepdim=True)


def test_doubly_stochastic_is_the_sum_of_the_paper() -> None:
    _, targets, attention = batch()
    total, tokens = 0.0, 0
    for b in range(B):
        for c in range(C):
            real = [t for t in range(L) if targets[b, c, t] != PAD]
            tokens += len(real)
            if real:
                for i in range(N):
                    total += (1 - sum(float(attention[b, c, t, :, :, i].mean()) for t in real)) ** 2
    assert float(doubly_stochastic(attention, targets != PAD)) == pytest.approx(total / tokens, rel=1e-5)


def test_doubly_stochastic_is_0_for_even_attention() -> None:
    even = torch.full((1, 1, N, LAYERS, H, N), 1 / N)
    assert float(doubly_stochastic(even, torch.ones(1, 1, N, dtype=torch.bool))) == pytest.approx(0, abs=1e-9)


def test_supervision_is_the_negative_log_of_the_mass_on_the_region() -> None:
    _, _, attention = batch()
    regions = torch.zeros(B, C, L, N)
    regions[0, 0, 1, 2] = 1.0  # a whole cell
    regions[1, 1, 3, :2] = torch.tensor([0.25, 0.5])  # parts of two
    first = float(attention[0, 0, 1, :, :, 2].mean())
    mean = attention[1, 1, 3].mean(dim=(0, 1))
    second = float(0.25 * mean[0] + 0.5 * mean[1])
    expected = (-math.log(first) - math.log(second)) / 2
    assert float(attention_supervision(attention, regions)) == pytest.approx(expected, rel=1e-5)
    assert float(attention_supervision(attention, torch.zeros_like(regions))) == 0


def test_supervision_has_a_gradient_where_the_mass_is_0() -> None:
    attention = torch.zeros(1, 1, 1, 1, 1, N, requires_grad=True)
    region = torch.zeros(1, 1, 1, N)
    region[..., 1] = 1
    loss = attention_supervision(attention, region)
    assert float(loss.detach()) == pytest.approx(1 - math.log(FLOOR), rel=1e-5)
    loss.backward()
    assert attention.grad is not None
    torch.testing.assert_close(attention.grad[0, 0, 0, 0, 0], torch.tensor([0, -1 / FLOOR, 0, 0, 0]))


def test_the_penalty_is_the_mean_attention_mass_on_the_image() -> None:
    _, targets, attention = batch()
    mass = torch.rand(B, C, L, LAYERS, H, generator=torch.Generator().manual_seed(1))
    values = [
        float(mass[b, c, t].mean())
        for b in range(B)
        for c in range(C)
        for t in range(L)
        if targets[b, c, t] != PAD
    ]
    expected = sum(values) / len(values)
    assert float(image_attention_penalty(attention * mass[..., None], targets != PAD)) == pytest.approx(
        expected, rel=1e-5
    )


def test_z_loss_is_the_squared_log_of_the_softmax_denominator() -> None:
    logits, targets, _ = batch()
    values = [
        math.log(sum(math.exp(z) for z in row.tolist())) ** 2
        for row, target in zip(logits.reshape(-1, V), targets.flatten(), strict=True)
        if target != PAD
    ]
    assert float(z_loss(logits, targets != PAD)) == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_terms_are_weighted_and_those_of_weight_0_are_left_out() -> None:
    logits, targets, attention = batch()
    regions = torch.zeros(B, C, L, N - 1)
    regions[0, 0, 0, 0] = 1
    plain = TeacherForcing(label_smoothing=0.1)
    assert list(plain.terms(logits, targets, pad_id=PAD)) == ["cross_entropy"]
    full = TeacherForcing(label_smoothing=0.1, doubly_stochastic=0.5, attention_supervision=2.0, z_loss=0.1)
    terms = full.terms(
        logits, targets, pad_id=PAD, attention=attention, num_prefix=1, penalty=0.3, regions=regions
    )
    on_grid = attention[..., 1:]
    expected = {
        "cross_entropy": CrossEntropy(label_smoothing=0.1)(logits, targets, pad_id=PAD),
        "doubly_stochastic": 0.5 * doubly_stochastic(on_grid, targets != PAD),
        "attention_supervision": 2 * attention_supervision(on_grid, regions),
        "image_attention_penalty": 0.3 * image_attention_penalty(attention, targets != PAD),
        "z_loss": 0.1 * z_loss(logits, targets != PAD),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


@pytest.mark.parametrize(
    ("settings", "penalty"),
    [
        ({"doubly_stochastic": 1.0}, 0.0),
        ({"attention_supervision": 1.0}, 0.0),
        ({"z_loss": 1.0}, 0.0),
        ({}, 1.0),
    ],
    ids=["doubly_stochastic", "attention_supervision", "z_loss", "image_attention_penalty"],
)
def test_terms_have_no_gradient_at_padding(settings: dict[str, Any], penalty: float) -> None:
    logits, targets, attention = batch()
    regions = (torch.rand(B, C, L, N) * (targets != PAD)[..., None]).double()
    logits.requires_grad_()
    attention.requires_grad_()
    terms = TeacherForcing(**settings).terms(
        logits, targets, pad_id=PAD, attention=attention, penalty=penalty, regions=regions
    )
    sum(terms.values()).backward()  # type: ignore[union-attr]
    padded = targets == PAD
    for values in (logits, attention):
        if values.grad is not None:
            assert not values.grad[padded].any()
            assert values.grad[~padded].any()


@pytest.mark.parametrize("name", ["doubly_stochastic", "attention_supervision", "image_attention_penalty"])
def test_gradients_equal_finite_differences(name: str) -> None:
    scores = torch.randn(1, 1, 3, 1, 2, 4, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[[True, True, False]]])
    regions = torch.tensor([[[[1.0, 0, 0.5, 0], [0, 0, 0, 0], [0, 1, 0, 0]]]])

    def run(scores: Tensor) -> Tensor:
        attention = scores.softmax(-1)
        if name == "doubly_stochastic":
            return doubly_stochastic(attention, real)
        if name == "image_attention_penalty":
            return image_attention_penalty(attention[..., 1:], real)
        return attention_supervision(attention, regions)

    # The terms are computed in float32, so tolerances are coarse.
    assert torch.autograd.gradcheck(run, scores, eps=1e-3, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        "doubly_stochastic",
        "attention_supervision",
        "image_attention_penalty",
        "z_loss",
        "reinforce",
        "entropy",
    ],
)
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(name: str, weight: float) -> None:
    with pytest.raises(UsageError, match=f"objective.{name}={weight} "):
        TeacherForcing(**{name: weight})  # type: ignore[arg-type]


def test_supervision_without_boxes_is_refused() -> None:
    logits, targets, attention = batch()
    with pytest.raises(UsageError, match=r"objective\.attention_supervision=1\.0 needs boxes"):
        TeacherForcing(attention_supervision=1.0).terms(logits, targets, pad_id=PAD, attention=attention)


def test_reinforce_is_the_gradient_of_the_expected_log_likelihood() -> None:
    """Its mean over all samples is the gradient of the bound Σ p(s) log p(y | s)."""
    torch.manual_seed(0)
    cells, words = 3, 4
    scores = torch.randn(
        L, cells, dtype=torch.float64, requires_grad=True
    )  # of the cells, for each of L tokens
    # The log-probabilities of the words for each token and cell.
    table = torch.randn(L, cells, words, dtype=torch.float64).log_softmax(-1)
    targets = torch.tensor([1, 2, 3, 1])[None, None]
    real = torch.ones(1, 1, L, dtype=torch.bool)
    log_p = scores.log_softmax(-1)
    found = torch.zeros_like(scores)
    bound = torch.zeros(())
    for drawn in torch.cartesian_prod(*[torch.arange(cells)] * L):
        p = log_p[torch.arange(L), drawn].sum().exp()
        logits = table[torch.arange(L), drawn]
        bound = bound + p * logits[torch.arange(L), targets[0, 0]].sum()
        logprob = log_p[torch.arange(L), drawn]
        choice = Choice(logprob[None, None, :, None], torch.zeros(1, 1, L, 1))
        loss = reinforce(logits[None, None], targets, choice, real)
        found -= p.detach() * torch.autograd.grad(loss, scores, retain_graph=True)[0] * L
    (expected,) = torch.autograd.grad(bound, scores)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_the_baseline_is_the_mean_of_the_other_captions() -> None:
    logits, targets, _ = batch()
    real = targets != PAD
    logprob = torch.zeros(B, C, L, H, requires_grad=True)
    reinforce(logits, targets, Choice(logprob, logprob.detach()), real).backward()
    log_p = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0] * real
    assert logprob.grad is not None
    for b, c, t in ((0, 0, 1), (1, 1, 3), (0, 1, 0)):
        own = float(log_p[b, c, t:].sum())
        others = [
            float(log_p[i, j, t:].sum())
            for i in range(B)
            for j in range(C)
            if (i, j) != (b, c) and real[i, j, t]
        ]
        expected = -(own - sum(others) / len(others)) / int(real.sum())
        assert float(logprob.grad[b, c, t, 0]) == pytest.approx(expected, rel=1e-4)
    assert not logprob.grad[~real].any()


def test_hard_attention_adds_its_terms_and_excludes_terms_on_attention_weights() -> None:
    logits, targets, attention = batch()
    logprob, entropy = torch.rand(B, C, L, H), torch.rand(B, C, L, H)
    choice = Choice(logprob, entropy)
    terms = TeacherForcing(reinforce=2.0, entropy=0.5).terms(logits, targets, pad_id=PAD, choice=choice)
    real = targets != PAD
    torch.testing.assert_close(terms["reinforce"], 2 * reinforce(logits, targets, choice, real))
    torch.testing.assert_close(terms["entropy"], -0.5 * entropy.mean(-1)[real].mean())
    with pytest.raises(UsageError, match=r"objective\.doubly_stochastic=0.*model\.decoder\.hard=false"):
        TeacherForcing(doubly_stochastic=1.0).terms(
            logits, targets, pad_id=PAD, attention=attention, choice=choice
        )
