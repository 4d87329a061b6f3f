"""Self-critical sequence training: policy gradient of the expected reward of sampled captions.

    ∇ E[r(y)] = E[(r(y) - b) ∇ log π(y)]          y sampled from the model, r its CIDEr-D

The baseline b is the reward of the greedy caption of the same image, or the mean reward of the other captions sampled
for it, which needs no further decoding and has less variance. Neither depends on y, so the gradient is unbiased. A KL
penalty towards the initial model is part of the reward,

    r(y) - λ (log π(y) - log π₀(y)),               whose mean is that of r minus λ KL(π ‖ π₀).

Captions are sampled and scored without dropout, so that the policy trained is the one used in decoding.

Sources: Rennie et al. 2017, "Self-critical sequence training for image captioning" (the greedy baseline); Luo 2020,
"A better variant of self-critical sequence training" (leave-one-out mean, "new self-critical"); Jaques et al. 2017,
"Sequence Tutor" (KL penalty).

Axis letters: `B` images, `K` captions sampled for each image, `L` tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from captioner.decoding import GreedySearch, SampleSearch, Search
from captioner.errors import DataError, UsageError, did_you_mean
from captioner.metrics.caption_reward import CaptionReward, check_weights
from captioner.metrics.token_words import DecodedWords, TableWords, TokenWords
from captioner.models.captioner import Captioner
from captioner.objectives.objective import Losses, TrainingContext, TrainingStep
from captioner.objectives.policy import PolicyOutput, policy
from captioner.text.tokenizer import Tokenizer

BASELINES = ("others", "greedy")
_CIDER = {"CIDEr-D": 1.0}


class SelfCritical:
    """Policy gradient of the expected reward.

    Args:
        samples: `K`, captions sampled for each image.
        baseline: "others", the mean reward of the other captions of the image, or "greedy".
        reward: Weights of `metrics.caption_reward.REWARDS`.
        count_end: Whether EOS counts as a word in CIDEr-D and BLEU-4. Without it, training favours captions that stop
            in the middle of a phrase.
        kl: Weight of the KL penalty towards the initial model, in reward per nat.
        max_length: Maximum length of a sampled caption in tokens, EOS included; at most the decoder's own.

    Raises:
        UsageError: If a setting is out of range.
    """

    def __init__(
        self,
        *,
        samples: int = 5,
        baseline: str = "others",
        reward: Mapping[str, float] = _CIDER,
        count_end: bool = True,
        kl: float = 0.0,
        max_length: int = 30,
    ) -> None:
        if baseline not in BASELINES:
            raise UsageError(
                f"objective.baseline={baseline} is unknown; choose from {', '.join(BASELINES)}"
                f"{did_you_mean(baseline, BASELINES)}"
            )
        least = 2 if baseline == "others" else 1
        if not isinstance(samples, int) or samples < least:
            raise UsageError(
                f"objective.samples={samples} must be an integer of at least {least} with objective.baseline={baseline}"
            )
        if not 0 <= kl < math.inf:
            raise UsageError(
                f"objective.kl={kl} must be a finite number of at least 0; 0 turns the penalty off"
            )
        if max_length < 2:
            raise UsageError(f"objective.max_length={max_length} must be at least 2: a word and EOS")
        check_weights(reward)
        self.samples = samples
        self.baseline = baseline
        self.reward = dict(reward)
        self.count_end = count_end
        self.kl = kl
        self.max_length = max_length

    def prepare(self, context: TrainingContext) -> None:
        """Count the n-grams of the training captions, and copy the initial model where the KL penalty needs it.

        Raises:
            DataError: If fewer than two training images have captions.
            UsageError: If the initial model is untrained, or has hard attention.
        """
        if not context.pretrained and not context.with_teacher_forcing:
            raise UsageError(
                "objective=self_critical needs a trained model; set init_from=FILE to one trained with "
                "objective=teacher_forcing"
            )
        if context.captioner.decoder.hard and not context.with_teacher_forcing:
            raise UsageError(
                "objective=self_critical does not train hard attention (model.decoder.hard=true); set objective=mixed"
            )
        if self.kl and not context.pretrained:
            raise UsageError(
                f"objective.kl={self.kl} penalises distance from a trained model; set init_from=FILE, or kl=0"
            )
        samples = [context.train_set[i] for i in range(len(context.train_set))]
        # Keyed by index, not by id: shards of other tools may repeat ids.
        references = {str(index): sample.captions for index, sample in enumerate(samples) if sample.captions}
        if len(references) < 2:
            raise DataError(
                f"objective=self_critical needs references of at least two training images, and {len(references)} of "
                f"the {len(samples):,} training images have captions; check the caption file or data.root"
            )
        self._special = context.special
        self._seed = context.seed
        self._reward = CaptionReward(
            references, token_words(context.tokenizer, count_end=self.count_end), weights=self.reward
        )
        self._length = min(self.max_length, context.captioner.decoder.max_length)
        self._initial = _frozen_copy(context.captioner) if self.kl else None

    def __call__(self, captioner: Captioner, step: TrainingStep) -> Losses:
        """Sample captions, score them, and raise the probability of those above the baseline."""
        batch = step.batch
        special = self._special
        valid = batch.tokens[:, 0, 0] != special.pad  # an image without captions could not be read
        with evaluation_mode(captioner):
            features = captioner.encode(batch.images).features
            samples, rewards, baseline = self._sample(captioner, features.detach(), step, valid)
            output = policy(captioner.decoder, features, samples, special, max_length=self._length)
        logprob = output.logprobs.sum(dim=-1)  # [B, K]
        penalised = rewards
        metrics = {}
        if self._initial is not None:
            log_ratio = logprob.detach() - self._initial_logprobs(step, samples).sum(dim=-1)
            penalised = rewards - self.kl * log_ratio
            metrics["kl"] = _mean(log_ratio, valid)
        if self.baseline == "others":
            baseline = leave_one_out_mean(penalised)
        advantage = penalised - baseline
        metrics |= {
            "reward": _mean(rewards, valid),
            "baseline": _mean(baseline, valid),
            "advantage_sd": _mean((advantage - _mean(advantage, valid)).square(), valid).sqrt(),
            **_sample_statistics(output, valid),
        }
        loss = policy_gradient(logprob, advantage, valid)
        return Losses({"self_critical": loss}, metrics, {"self_critical": valid.sum()})

    @torch.no_grad()
    def _sample(
        self, captioner: Captioner, features: Tensor, step: TrainingStep, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Captions `[B, K, L]`, their rewards `[B, K]`, and those of the greedy captions `[B, 1]` where needed.

        Every image and step has its own random stream, so that samples depend neither on the number of processes nor on
        whether the run was resumed.
        """
        search = SampleSearch(
            self.samples, seed=(self._seed << 32) + step.step, max_length=self._length
        ).for_images(step.batch.indices.tolist())
        samples = self._search(search, captioner, features)
        rewards = self._rewards(samples, step, valid)
        baseline = torch.zeros_like(rewards[:, :1])
        if self.baseline == "greedy":
            greedy = self._search(GreedySearch(max_length=self._length), captioner, features)
            baseline = self._rewards(greedy, step, valid)
        # Autocast caches cast weights, here without gradients; the next pass needs gradients.
        torch.clear_autocast_cache()
        return samples, rewards, baseline

    def _search(self, search: Search, captioner: Captioner, features: Tensor) -> Tensor:
        """Captions, cut to the longest."""
        tokens = search(captioner.decoder, features, self._special).tokens
        longest = int((tokens != self._special.pad).sum(dim=-1).amax())
        return tokens[:, :, :longest]

    def _rewards(self, tokens: Tensor, step: TrainingStep, valid: Tensor) -> Tensor:
        """Rewards float32 `[B, K]`; 0 for an image without references."""
        tokens = tokens[:, :, : self._length - 1]  # ignore an EOS forced by the maximum length
        images = [str(i) for i in step.batch.indices[valid].tolist()]
        rewards = torch.zeros(tokens.shape[:2], device=tokens.device)
        if images:
            values = self._reward(images, tokens[valid].cpu().numpy()).total
            rewards[valid] = torch.from_numpy(values).to(rewards)
        return rewards

    @torch.no_grad()
    def _initial_logprobs(self, step: TrainingStep, samples: Tensor) -> Tensor:
        """Log-probabilities `[B, K, L]` under the initial model."""
        assert self._initial is not None
        initial = self._initial.to(samples.device)
        features = initial.encode(step.batch.images).features
        output = policy(initial.decoder, features, samples, self._special, max_length=self._length)
        torch.clear_autocast_cache()
        return output.logprobs


def policy_gradient(logprob: Tensor, advantage: Tensor, valid: Tensor) -> Tensor:
    """A surrogate loss whose gradient is REINFORCE's, the mean over captions.

    Args:
        logprob: `[B, K]` nats, log π of each caption.
        advantage: `[B, K]`, reward minus baseline; it gets no gradient.
        valid: bool `[B]`: images that count.
    """
    gain = logprob * advantage.detach() * valid[:, None]
    return -gain.sum() / (valid.sum() * logprob.shape[1]).clamp(min=1)


def leave_one_out_mean(rewards: Tensor) -> Tensor:
    """For each caption the mean reward of the other captions of its image, `[B, K]`; `K` is at least 2."""
    return (rewards.sum(dim=1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def token_words(tokenizer: Tokenizer, *, count_end: bool) -> TokenWords:
    """The map from a tokenizer's ids to words: a table, or decoding where tokens are parts of words."""
    if tokenizer.kind == "bpe":
        return DecodedWords(tokenizer.decode, eos_id=tokenizer.eos_id, count_end=count_end)
    words = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return TableWords(words, eos_id=tokenizer.eos_id, count_end=count_end)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards the mode before it."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _frozen_copy(captioner: Captioner) -> Captioner:
    """A copy without gradients, in evaluation mode; a frozen encoder is shared, since it does not change."""
    encoder = captioner.encoder
    memo = {id(encoder): encoder} if encoder.frozen else {}
    return copy.deepcopy(captioner, memo).eval().requires_grad_(False)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `[B, K]` over the valid images."""
    return (values * valid[:, None]).sum() / (valid.sum() * values.shape[1]).clamp(min=1)


def _sample_statistics(output: PolicyOutput, valid: Tensor) -> dict[str, Tensor]:
    """Mean length of captions in tokens, EOS included, and mean entropy per token in nats."""
    chosen = output.chosen & valid[:, None, None]
    count = chosen.sum().clamp(min=1)
    captions = (valid.sum() * chosen.shape[1]).clamp(min=1)
    return {"sample_length": count / captions, "policy_entropy": (output.entropy * chosen).sum() / count}
