"""Self-critical training: its gradient is that of the expected reward."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.data.batch import CaptionBatch
from captioner.decoding import GreedySearch, SampleSearch
from captioner.errors import DataError, UsageError
from captioner.metrics.caption_reward import CaptionReward
from captioner.models.captioner import Captioner
from captioner.objectives.objective import TrainingStep
from captioner.objectives.policy import policy
from captioner.objectives.self_critical import SelfCritical, leave_one_out_mean, policy_gradient, token_words
from captioner.text.tokenizer import Tokenizer
from tests.objectives.conftest import (
    CAPTIONS,
    EOS,
    PAD,
    SPECIAL,
    batch,
    captioner,
    context,
    every_caption,
)

LENGTH = 4


def prepared(model: Captioner, **settings: object) -> SelfCritical:
    objective = SelfCritical(**{"max_length": LENGTH, **settings})  # type: ignore[arg-type]
    objective.prepare(context(model))
    return objective


def rewards_of(tokens: Tensor, weights: dict[str, float] | None = None, images: int = 3) -> Tensor:
    """Rewards of `[B, K, L]` by `CaptionReward`: EOS counts as a word, unless the maximum length forced it."""
    references = {f"{i}.jpg": CAPTIONS[i] for i in range(3)}
    tokenizer = context(captioner()).tokenizer
    reward = CaptionReward(
        references, token_words(tokenizer, count_end=True), weights=weights or {"CIDEr-D": 1.0}
    )
    cut = tokens[:, :, : LENGTH - 1].numpy()
    return torch.from_numpy(reward([f"{i}.jpg" for i in range(images)], cut).total).float()


def gradients(model: Captioner, loss: Tensor) -> dict[str, Tensor]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named, found, strict=True)}


def close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    scale = max(float(value.abs().max()) for value in expected.values())
    assert scale > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance * scale, rtol=0, msg=name)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_log_probabilities_are_those_of_the_search(kind: str) -> None:
    """One pass over whole captions equals the cached search, renormalised over the allowed tokens."""
    model = captioner(kind).eval()
    features = model.encode(batch(model).images).features
    found = SampleSearch(6, max_length=LENGTH)(model.decoder, features, SPECIAL)
    output = policy(model.decoder, features, found.tokens, SPECIAL, max_length=LENGTH)
    # The tokens allowed after each prefix, by cached steps of the search.
    cache = model.decoder.init_cache(features, num_beams=6)
    token = torch.full((3, 6), SPECIAL.begin)
    for t in range(found.tokens.shape[-1]):
        logits, cache = model.decoder.step(token, cache)
        allowed = logits.softmax(-1)[..., [EOS, 4, 5]].sum(-1)
        token = found.tokens[:, :, t]
        free = (token != PAD) & (t < LENGTH - 1)
        expected = (found.token_logprobs[:, :, t] - allowed.log()) * free
        torch.testing.assert_close(output.logprobs[:, :, t], expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(output.chosen[:, :, t], free)
        p = logits[..., [EOS, 4, 5]].softmax(-1)
        torch.testing.assert_close(
            output.entropy[:, :, t], -(p * p.log()).sum(-1) * free, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_the_probabilities_of_all_captions_sum_to_1(kind: str) -> None:
    model = captioner(kind).eval()
    features = model.encode(batch(model).images).features
    every = every_caption(LENGTH)
    output = policy(model.decoder, features, every.expand(3, -1, -1), SPECIAL, max_length=LENGTH)
    torch.testing.assert_close(output.logprobs.sum(-1).exp().sum(-1), torch.ones(3))


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("kl", [0.0, 0.7])
def test_the_expected_gradient_is_that_of_the_expected_reward(kind: str, kl: float) -> None:
    """The sum over all pairs of captions, weighted by probability, equals the gradient of the exact expectation."""
    model = captioner(kind).eval()
    start = captioner(kind).eval()
    with torch.no_grad():
        for parameter in start.decoder.parameters():
            parameter.mul_(0.5)
    images = batch(model).images
    every = every_caption(3)
    features = model.encode(images).features

    def judge(of: Captioner) -> Tensor:
        memory = of.encode(images).features
        return policy(of.decoder, memory, every.expand(3, -1, -1), SPECIAL, max_length=3).logprobs.sum(-1)

    log_p, log_start = judge(model), judge(start).detach()
    rewards = torch.from_numpy(np.random.default_rng(0).random((3, len(every)))).float()
    p = log_p.exp()
    # Mean over images of Σ p r - λ KL(π ‖ π₀).
    expected = ((p * rewards).sum(-1) - kl * (p * (log_p - log_start)).sum(-1)).mean()
    gradient = gradients(model, -expected)

    penalised = rewards - kl * (log_p - log_start).detach()
    known = torch.ones(3, dtype=torch.bool)
    n = len(every)
    first, second = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    found = torch.zeros(())
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        pair = [i, j]
        weight = p[:, i] * p[:, j]
        advantage = penalised[:, pair] - leave_one_out_mean(penalised[:, pair])
        # The loss is linear in the advantage, so the probability of the pair can be a factor of it.
        found = found + policy_gradient(log_p[:, pair], (advantage * weight[:, None]).detach(), known)
    close(gradients(model, found), gradient, 1e-4)
    assert features.shape[0] == 3


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_its_gradient_equals_explicit_reinforce(kind: str, baseline: str) -> None:
    model = captioner(kind, dropout=0.3).train()
    objective = prepared(model, samples=4, baseline=baseline)
    step = TrainingStep(batch(model), step=3)
    losses = objective(model, step)
    found = gradients(model, losses.terms["self_critical"])
    assert model.decoder.training, "training mode is restored"

    model.eval()
    features = model.encode(step.batch.images).features
    search = SampleSearch(4, seed=3, max_length=LENGTH)
    samples = search.for_images([0, 1, 2])(model.decoder, features, SPECIAL).tokens
    rewards = rewards_of(samples)
    if baseline == "others":
        baseline_rewards = torch.stack(
            [rewards[:, [j for j in range(4) if j != k]].mean(1) for k in range(4)], dim=1
        )
    else:
        greedy = GreedySearch(max_length=LENGTH)(model.decoder, features, SPECIAL)
        baseline_rewards = rewards_of(greedy.tokens).expand(3, 4)
    inputs = torch.cat([torch.full_like(samples[:, :, :1], 1), samples[:, :, :-1]], dim=2)
    logits = model.decoder(inputs, features).logits
    loss = torch.zeros(())
    for b in range(3):
        for k in range(4):
            for t in range(LENGTH - 1):
                token = int(samples[b, k, t])
                if token == PAD:
                    break
                options = [EOS, 4, 5]
                log_p = logits[b, k, t, options].log_softmax(-1)[options.index(token)]
                loss = loss - (rewards[b, k] - baseline_rewards[b, k]) * log_p / 12
    close(found, gradients(model, loss), 1e-4)
    assert float(losses.metrics["reward"]) == pytest.approx(float(rewards.mean()), abs=1e-5)
    assert float(losses.metrics["baseline"]) == pytest.approx(float(baseline_rewards.mean()), abs=1e-5)
    assert float(losses.metrics["advantage_sd"]) == pytest.approx(
        float((rewards - baseline_rewards).std(correction=0)), abs=1e-5
    )
    lengths = (samples[:, :, : LENGTH - 1] != PAD).sum(-1).float()
    assert float(losses.metrics["sample_length"]) == pytest.approx(float(lengths.mean()), abs=1e-5)
    assert 0 < float(losses.metrics["policy_entropy"]) < math.log(3)


def test_the_leave_one_out_mean_excludes_the_caption_itself() -> None:
    rewards = torch.rand(2, 3, dtype=torch.float64)
    baseline_rewards = leave_one_out_mean(rewards)
    for k in range(3):
        others = [j for j in range(3) if j != k]
        torch.testing.assert_close(baseline_rewards[:, k], rewards[:, others].mean(1))


def test_no_gradient_goes_through_the_advantage() -> None:
    logprob = torch.randn(2, 3, requires_grad=True)
    advantage = torch.randn(2, 3, requires_grad=True)
    known = torch.tensor([True, False])
    policy_gradient(logprob, advantage, known).backward()
    assert advantage.grad is None
    torch.testing.assert_close(logprob.grad, torch.stack([-advantage[0].detach() / 3, torch.zeros(3)]))


def test_eos_counts_in_reward_and_probability() -> None:
    """ "a dog" with EOS is a reference of image 0; with one more word EOS is forced by the maximum length."""
    model = captioner().eval()
    tokens = torch.tensor([[[4, 5, EOS, PAD], [4, 5, 4, EOS]]])
    whole = rewards_of(tokens[:, :1], images=1)
    reward = CaptionReward(
        {f"{i}.jpg": CAPTIONS[i] for i in range(3)},
        token_words(context(model).tokenizer, count_end=False),
        weights={"CIDEr-D": 1.0},
    )
    assert float(whole) != pytest.approx(float(reward(["0.jpg"], tokens[:, :1].numpy()).total[0, 0]))
    features = model.encode(batch(model).images).features[:1]
    output = policy(model.decoder, features, tokens, SPECIAL, max_length=LENGTH)
    assert output.logprobs[0, 0, 2] < 0, "EOS was chosen"
    assert output.logprobs[0, 1, 3] == 0, "EOS was forced"
    # A forced EOS does not change the reward.
    assert torch.equal(rewards_of(tokens, images=1)[:, 1], rewards_of(tokens[:, 1:, :3], images=1)[:, 0])


def test_the_kl_penalty_is_0_at_first_and_grows_with_the_distance() -> None:
    model = captioner(dropout=0.3).train()
    objective = prepared(model, kl=0.5)
    step = TrainingStep(batch(model))
    first = objective(model, step)
    assert float(first.metrics["kl"]) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(1.3)
    assert float(objective(model, step).metrics["kl"]) > 0.01
    plain = prepared(captioner(dropout=0.3))(captioner(dropout=0.3).train(), step)
    torch.testing.assert_close(first.terms["self_critical"], plain.terms["self_critical"])


def test_an_unreadable_image_has_no_effect() -> None:
    model = captioner().eval()
    whole = batch(model)
    objective = prepared(model)
    tokens = whole.tokens.clone()
    tokens[1] = PAD
    with_gap = CaptionBatch(whole.images, tokens, whole.indices)
    found = objective(model, TrainingStep(with_gap))
    part = [0, 2]
    images = type(whole.images)(whole.images.features[part], whole.images.grid, whole.images.num_prefix)  # type: ignore[union-attr]
    without = CaptionBatch(images, whole.tokens[part], whole.indices[part])
    expected = objective(model, TrainingStep(without))
    close(
        gradients(model, found.terms["self_critical"]),
        gradients(model, expected.terms["self_critical"]),
        1e-4,
    )
    for name, value in expected.metrics.items():
        torch.testing.assert_close(found.metrics[name], value, msg=name)
    nothing = objective(
        model, TrainingStep(CaptionBatch(whole.images, torch.full_like(tokens, PAD), whole.indices))
    )
    assert nothing.terms["self_critical"].item() == 0
    assert all(math.isfinite(float(value)) for value in nothing.metrics.values())


@pytest.mark.parametrize(("kind", "baseline"), [("transformer", "others"), ("lstm", "greedy")])
def test_rewards_rise(kind: str, baseline: str) -> None:
    model = captioner(kind)
    objective = prepared(model, baseline=baseline, samples=6)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    seen = []
    for step in range(40):
        losses = objective(model, TrainingStep(batch(model), step=step))
        optimizer.zero_grad()
        losses.terms["self_critical"].backward()
        optimizer.step()
        seen.append(float(losses.metrics["reward"]))
    best = rewards_of(every_caption(LENGTH).expand(3, -1, -1)).max(dim=1).values.mean()
    assert np.mean(seen[-5:]) > np.mean(seen[:5]) + 0.4 * (float(best) - np.mean(seen[:5]))


def test_samples_depend_on_seed_step_and_image_only() -> None:
    model = captioner().eval()
    objective = prepared(model)

    def reward(step: int) -> float:
        return float(objective(model, TrainingStep(batch(model), step=step)).metrics["reward"])

    torch.manual_seed(1)
    first = reward(5)
    torch.manual_seed(2)
    assert reward(5) == first
    assert reward(6) != first


def test_gradients_reach_every_weight_under_autocast() -> None:
    """Autocast caches cast weights; those of the sampling pass have no gradient."""
    model = captioner().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = prepared(model, kl=0.1)(model, TrainingStep(batch(model))).terms["self_critical"]
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith("bridge.prefix"):
            assert parameter.grad is not None, name
            assert "key_value.bias" in name or parameter.grad.any(), name


def test_a_byte_pair_tokenizer_is_decoded() -> None:
    captions = [caption for of_image in CAPTIONS for caption in of_image]
    tokenizer = Tokenizer.train(captions, kind="bpe", vocab_size=300)
    references = {f"{i}.jpg": CAPTIONS[i] for i in range(3)}
    reward = CaptionReward(references, token_words(tokenizer, count_end=True), weights={"CIDEr-D": 1.0})
    ids = [*tokenizer.encode("a dog"), tokenizer.eos_id]
    mine = reward(["0.jpg"], np.array([[ids]])).total
    assert float(mine[0, 0]) == pytest.approx(float(rewards_of(torch.tensor([[[4, 5, EOS, PAD]]]), images=1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "objective.samples=1 .*at least 2.*objective.baseline=others"),
        ({"samples": 0, "baseline": "greedy"}, "objective.samples=0 .*at least 1"),
        ({"baseline": "greed"}, "objective.baseline=greed .*did you mean greedy"),
        ({"kl": -1.0}, r"objective\.kl=-1\.0"),
        ({"max_length": 1}, "objective.max_length=1 "),
        ({"reward": {"SPICE": 1.0}}, "reward SPICE .*CIDEr-D, BLEU-4, length"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SelfCritical(**settings)  # type: ignore[arg-type]


def test_unmet_requirements_are_refused() -> None:
    model = captioner()
    with pytest.raises(UsageError, match=r"objective=self_critical .*init_from=FILE"):
        SelfCritical().prepare(context(model, pretrained=False))
    with pytest.raises(DataError, match=r"0 of the 3 training images"):
        SelfCritical().prepare(context(model, [[], [], []]))
    with pytest.raises(DataError, match=r"1 of the 3 training images"):
        SelfCritical().prepare(context(model, [["a dog"], [], []]))
    with pytest.raises(UsageError, match=r"model\.decoder\.hard=true.*objective=mixed"):
        SelfCritical().prepare(context(captioner("lstm", hard=True)))
    SelfCritical().prepare(context(model, [["a dog"], [], ["a"]]))
