"""CaptionModule: optimizer, learning-rate schedule, gradients, one optimizer step and validation loss."""

from __future__ import annotations

import math
from typing import cast

import lightning
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from captioner.data.batch import CaptionBatch
from captioner.errors import CaptionerError, UsageError
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.objectives.objective import Losses, TrainingContext, TrainingStep
from captioner.training.module import CaptionModule

PAD = 0


class LogLikelihood:
    """Cross-entropy that records the steps it is called with."""

    def __init__(self) -> None:
        self.steps: list[TrainingStep] = []

    def prepare(self, context: TrainingContext) -> None:
        raise NotImplementedError

    def __call__(self, captioner: Captioner, step: TrainingStep) -> Losses:
        self.steps.append(step)
        logits = captioner(step.batch.images, step.batch.tokens[:, :, :-1]).logits
        targets = step.batch.tokens[:, :, 1:]
        loss = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), ignore_index=PAD)
        return Losses({"cross_entropy": loss}, {}, {"cross_entropy": (targets != PAD).sum()})


def captioner(trainable: str = "all") -> Captioner:
    torch.manual_seed(0)
    encoder = ImageEncoder("test_vit", [32, 32], trainable=trainable)
    return Captioner(encoder, TransformerDecoder(12, 8, depth=1, num_heads=2, dropout=0.0), dropout=0.0)


def batch(seed: int = 0, dtype: torch.dtype = torch.float32) -> CaptionBatch:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 12, (2, 2, 6), generator=generator)
    tokens[:, :, 0] = 1
    tokens[0, 1, 3:] = PAD
    images = torch.rand(2, 3, 32, 32, generator=generator).to(dtype)
    return CaptionBatch(images, tokens, torch.arange(2))


def loader(batches: list[CaptionBatch]) -> DataLoader[CaptionBatch]:
    return DataLoader(cast(Dataset[CaptionBatch], batches), batch_size=None)  # PyTorch takes any sequence


def fit(module: CaptionModule, steps: int, val: list[CaptionBatch] | None = None) -> lightning.Trainer:
    """Train for a number of steps, each on its own batch."""
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    dtype = next(module.parameters()).dtype
    train = [batch(seed, dtype) for seed in range(steps)]
    trainer.fit(module, loader(train), loader(val) if val else None)
    return trainer


def test_steps_equal_adamw_by_its_formula() -> None:
    """Three steps against Loshchilov & Hutter 2019, algorithm 2, with this module's rates and decay.

    In float64, since biases of keys have a gradient of 0 that rounding to float32 would let Adam amplify.
    """
    lr, encoder_lr, decay, betas = 2e-2, 1e-2, 0.1, (0.9, 0.98)
    module = CaptionModule(
        captioner().double(), LogLikelihood(), pad_id=PAD, lr=lr, encoder_lr=encoder_lr, weight_decay=decay,
        warmup=0.5, final_lr=0.1, betas=betas,
    )  # fmt: skip
    fit(module, 3)

    expected = captioner().double()
    objective = LogLikelihood()
    state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in expected.named_parameters()}
    # Warm-up over 2 of 3 steps, then half a cosine over the last one, which starts at its maximum.
    for step, factor in enumerate((0.5, 1.0, 1.0)):
        expected.zero_grad()
        objective(expected, TrainingStep(batch(step, torch.float64))).terms["cross_entropy"].backward()
        with torch.no_grad():
            for name, p in expected.named_parameters():
                if not p.requires_grad:
                    continue
                assert p.grad is not None
                rate = factor * (encoder_lr if name.startswith("encoder.") else lr)
                undecayed = p.ndim < 2 or any(part in name for part in ("position", "pos_embed", "_token"))
                if not undecayed or "token_embedding" in name:
                    p.mul_(1 - rate * decay)
                m, v = state[name]
                m.mul_(betas[0]).add_((1 - betas[0]) * p.grad)
                v.mul_(betas[1]).add_((1 - betas[1]) * p.grad**2)
                m_hat, v_hat = m / (1 - betas[0] ** (step + 1)), v / (1 - betas[1] ** (step + 1))
                p.sub_(rate * m_hat / (v_hat.sqrt() + 1e-8))
    initial = captioner().double().state_dict()
    for name, value in expected.state_dict().items():
        found = module.captioner.state_dict()[name]
        torch.testing.assert_close(found, value, atol=1e-9, rtol=1e-6, msg=name)
        assert not torch.equal(found, initial[name]) or not value.numel(), name


@pytest.mark.parametrize(("total", "warmup"), [(100, 0.1), (100, 0.0), (7, 0.5), (1, 0.1)])
def test_the_rate_rises_linearly_and_falls_by_half_a_cosine(total: int, warmup: float) -> None:
    module = CaptionModule(captioner("none"), LogLikelihood(), pad_id=PAD, warmup=warmup, final_lr=0.2)
    factors = [module.lr_factor(step, total) for step in range(total + 1)]
    rise = max(1, round(warmup * total))
    assert factors[:rise] == [(step + 1) / rise for step in range(rise)]
    for step in range(rise, total + 1):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
        assert factors[step] == pytest.approx(0.2 + 0.8 * cosine)
    assert max(factors) == 1
    if total > rise:
        assert factors[total] == module.lr_factor(total + 5, total) == pytest.approx(0.2)


def test_every_trained_parameter_gets_a_gradient_and_no_frozen_one() -> None:
    for trainable in ("all", "blocks.1", "none"):
        model = captioner(trainable)
        objective = LogLikelihood()
        fit(CaptionModule(model, objective, pad_id=PAD), 1)
        initial = captioner(trainable).state_dict()
        for name, parameter in model.named_parameters():
            changed = not torch.equal(parameter, initial[name])
            assert changed == (parameter.requires_grad and parameter.numel() > 0), name
        # A frozen encoder runs once for all passes of the objective, which gets its tokens.
        assert isinstance(objective.steps[0].batch.images, torch.Tensor) == (trainable != "none")


def test_the_objective_gets_step_and_progress() -> None:
    objective = LogLikelihood()
    fit(CaptionModule(captioner("none"), objective, pad_id=PAD), 4)
    assert [(step.step, step.progress) for step in objective.steps] == [
        (0, 0.0),
        (1, 0.25),
        (2, 0.5),
        (3, 0.75),
    ]


def test_the_validation_loss_is_the_mean_over_tokens_of_all_batches() -> None:
    module = CaptionModule(captioner("none"), LogLikelihood(), pad_id=PAD)
    val = [batch(5), batch(6)]
    val[1].tokens[1] = PAD  # batches with different numbers of tokens
    trainer = fit(module, 1, val)
    total, count = 0.0, 0
    model = module.captioner.eval()
    with torch.no_grad():
        for one in val:
            targets = one.tokens[:, :, 1:]
            logprobs = model(one.images, one.tokens[:, :, :-1]).logits.log_softmax(-1)
            real = targets != PAD
            total -= float(logprobs.gather(-1, targets[..., None])[..., 0][real].sum())
            count += int(real.sum())
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(total / count, rel=1e-5)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    model = captioner("none")
    with torch.no_grad():
        model.decoder.get_parameter("token_embedding.weight").fill_(math.inf)
    with pytest.raises(CaptionerError, match="nan at step 0"):
        fit(CaptionModule(model, LogLikelihood(), pad_id=PAD), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"optim\.lr=0\.0"),
        ({"encoder_lr": -1.0}, r"optim\.encoder_lr=-1\.0"),
        ({"warmup": 1.0}, r"optim\.warmup=1\.0"),
        ({"warmup": -0.1}, r"optim\.warmup=-0\.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CaptionModule(captioner("none"), LogLikelihood(), pad_id=PAD, **settings)  # type: ignore[arg-type]
