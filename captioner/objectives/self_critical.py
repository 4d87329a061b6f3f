"""What is learned from the model's own captions? Self-critical sequence training: those that score better than usual.

    ∇ E[r(y)] = E[(r(y) - b) ∇ log π(y)]          y drawn from the model, r its CIDEr-D

The baseline b is what the model earns anyway on the same image: by its greedy caption, or by the mean of the other
captions drawn for it, which needs no further decoding and varies less. Neither depends on y, so that the gradient stays
that of the expected reward. A penalty on leaving the model that training started from goes into the reward,

    r(y) - λ (log π(y) - log π₀(y)),               whose mean is that of r less λ KL(π ‖ π₀).

Captions are drawn and judged without dropout: the policy that learns is the one that will write.

Sources: Rennie et al. 2017, "Self-critical sequence training for image captioning" (the greedy baseline); Luo 2020,
"A better variant of self-critical sequence training" (the mean of the others, "new self-critical"); Jaques et al. 2017,
"Sequence Tutor" (the penalty).

Axis letters: `B` images, `K` captions drawn for each image, `L` tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from captioner.decoding import GreedySearch, SampleSearch, Search
from captioner.errors import DataError, UsageError
from captioner.metrics.caption_reward import CaptionReward, check_weights
from captioner.metrics.token_words import DecodedSpelling, Spelling, WordSpelling
from captioner.models.captioner import Captioner
from captioner.objectives.objective import Losses, TrainingContext, TrainingStep
from captioner.objectives.policy import Drawn, policy
from captioner.text.tokenizer import Tokenizer

BASELINES = ("others", "greedy")
_CIDER = {"CIDEr-D": 1.0}


class SelfCritical:
    """Policy gradient of the expected reward.

    Args:
        samples: `K`, captions drawn for each image.
        baseline: "others", the mean reward of the other captions of the image, or "greedy".
        reward: Weights of `metrics.caption_reward.REWARDS`.
        count_end: Whether the end of a caption counts as a word in CIDEr-D and BLEU-4. Without it captions learn to
            stop in the middle of a phrase.
        kl: Weight of the penalty on leaving the starting model, in reward per nat.
        max_length: Longest caption drawn, in tokens, EOS included; the decoder's own where that is less.

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
            raise UsageError(f"objective.baseline={baseline} is unknown; choose from {', '.join(BASELINES)}")
        least = 2 if baseline == "others" else 1
        if not isinstance(samples, int) or samples < least:
            raise UsageError(
                f"objective.samples={samples} must be a whole number from {least} with objective.baseline={baseline}"
            )
        if not 0 <= kl < math.inf:
            raise UsageError(f"objective.kl={kl} must be a number from 0; 0 leaves it out")
        if max_length < 2:
            raise UsageError(f"objective.max_length={max_length} must be at least 2: a word and its end")
        check_weights(reward)
        self.samples = samples
        self.baseline = baseline
        self.reward = dict(reward)
        self.count_end = count_end
        self.kl = kl
        self.max_length = max_length

    def prepare(self, course: TrainingContext) -> None:
        """Count the n-grams of the training captions, and keep the starting model where the penalty needs it.

        Raises:
            DataError: If fewer than two training images have captions.
            UsageError: If there is no model to start from, or it has hard attention.
        """
        if not course.started and not course.forced:
            raise UsageError(
                "self-critical training improves a model that can write already; give init_from=FILE, a model trained "
                "with objective=teacher_forcing"
            )
        if getattr(course.captioner.decoder, "hard", False) and not course.forced:
            raise UsageError(
                "self-critical training leaves hard attention where it is (model.decoder.hard=true); take "
                "objective=mixed, which goes on teaching it"
            )
        if self.kl and not course.started:
            raise UsageError(
                f"objective.kl={self.kl} keeps to the model that training starts from; give init_from=FILE, or kl=0"
            )
        samples = [course.train_set[i] for i in range(len(course.train_set))]
        # By place, not by id: shards of other tools may repeat their ids.
        references = {str(place): sample.captions for place, sample in enumerate(samples) if sample.captions}
        if len(references) < 2:
            raise DataError(
                f"self-critical training compares captions with references, and {len(references)} of the "
                f"{len(samples):,} training images have any; check the caption file, or take another dataset"
            )
        self._special = course.special
        self._seed = course.seed
        self._reward = CaptionReward(
            references, spelling_of(course.tokenizer, count_end=self.count_end), weights=self.reward
        )
        self._length = min(self.max_length, course.captioner.decoder.max_length)
        self._start = _frozen_copy(course.captioner) if self.kl else None

    def __call__(self, captioner: Captioner, lesson: TrainingStep) -> Losses:
        """Draw captions, judge them, and make the better ones likelier."""
        batch = lesson.batch
        special = self._special
        known = batch.tokens[:, 0, 0] != special.pad  # a photo that could not be read has no captions
        with in_evaluation(captioner):
            features = captioner.encode(batch.images).features
            drawn, rewards, baseline = self._draw(captioner, features.detach(), lesson, known)
            judged = policy(captioner.decoder, features, drawn, special, max_length=self._length)
        logprob = judged.logprobs.sum(dim=-1)  # [B, K]
        kept = rewards
        shown = {}
        if self._start is not None:
            ratio = logprob.detach() - self._at_the_start(lesson, drawn).sum(dim=-1)
            kept = rewards - self.kl * ratio
            shown["kl"] = _mean(ratio, known)
        if self.baseline == "others":
            baseline = mean_of_others(kept)
        advantage = kept - baseline
        shown |= {
            "reward": _mean(rewards, known),
            "baseline": _mean(baseline, known),
            "advantage_sd": _mean((advantage - _mean(advantage, known)).square(), known).sqrt(),
            **_habits(judged, known),
        }
        loss = policy_gradient(logprob, advantage, known)
        return Losses({"self_critical": loss}, shown, {"self_critical": known.sum()})

    @torch.no_grad()
    def _draw(
        self, captioner: Captioner, features: Tensor, lesson: TrainingStep, known: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Captions `[B, K, L]`, their rewards `[B, K]`, and those of the greedy captions `[B, 1]` where needed.

        Every image and step has its own stream, so that what is drawn depends neither on the number of processes nor
        on whether the run was resumed.
        """
        search = SampleSearch(
            self.samples, seed=(self._seed << 32) + lesson.step, max_length=self._length
        ).for_images(lesson.batch.indices.tolist())
        drawn = self._search(search, captioner, features)
        rewards = self._rewards(drawn, lesson, known)
        baseline = torch.zeros_like(rewards[:, :1])
        if self.baseline == "greedy":
            greedy = self._search(GreedySearch(max_length=self._length), captioner, features)
            baseline = self._rewards(greedy, lesson, known)
        # Autocast keeps the weights it has cast, here without their gradients.
        torch.clear_autocast_cache()
        return drawn, rewards, baseline

    def _search(self, search: Search, captioner: Captioner, features: Tensor) -> Tensor:
        """Captions without the places that none of them needs."""
        tokens = search(captioner.decoder, features, self._special).tokens
        longest = int((tokens != self._special.pad).sum(dim=-1).amax())
        return tokens[:, :, :longest]

    def _rewards(self, tokens: Tensor, lesson: TrainingStep, known: Tensor) -> Tensor:
        """Rewards float32 `[B, K]`; 0 for an image without references."""
        # An end to which the length alone came is none.
        tokens = tokens[:, :, : self._length - 1]
        images = [str(i) for i in lesson.batch.indices[known].tolist()]
        rewards = torch.zeros(tokens.shape[:2], device=tokens.device)
        if images:
            found = self._reward(images, tokens[known].cpu().numpy())
            rewards[known] = torch.from_numpy(found.total).to(rewards)
        return rewards

    @torch.no_grad()
    def _at_the_start(self, lesson: TrainingStep, drawn: Tensor) -> Tensor:
        """Log-probabilities `[B, K, L]` under the model that training started from."""
        assert self._start is not None
        start = self._start.to(drawn.device)
        features = start.encode(lesson.batch.images).features
        judged = policy(start.decoder, features, drawn, self._special, max_length=self._length)
        torch.clear_autocast_cache()
        return judged.logprobs


def policy_gradient(logprob: Tensor, advantage: Tensor, known: Tensor) -> Tensor:
    """A loss whose gradient is REINFORCE's, the mean over captions. Its value says nothing.

    Args:
        logprob: `[B, K]` nats, log π of each caption.
        advantage: `[B, K]`, reward less baseline; no gradient goes through it.
        known: bool `[B]`: images that count.
    """
    gain = logprob * advantage.detach() * known[:, None]
    return -gain.sum() / (known.sum() * logprob.shape[1]).clamp(min=1)


def mean_of_others(rewards: Tensor) -> Tensor:
    """For each caption the mean reward of the other captions of its image, `[B, K]` with `K` from 2."""
    return (rewards.sum(dim=1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def spelling_of(tokenizer: Tokenizer, *, count_end: bool) -> Spelling:
    """Which words a tokenizer's ids stand for."""
    if tokenizer.kind == "bpe":
        return DecodedSpelling(tokenizer.decode, eos_id=tokenizer.eos_id, count_end=count_end)
    words = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return WordSpelling(words, eos_id=tokenizer.eos_id, count_end=count_end)


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Without dropout and with kept statistics; afterwards as before."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _frozen_copy(captioner: Captioner) -> Captioner:
    """The model as it is now, for good. A frozen encoder is shared, since it stays as it is."""
    encoder = captioner.encoder
    memo = {id(encoder): encoder} if encoder.frozen else {}
    return copy.deepcopy(captioner, memo).eval().requires_grad_(False)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of `[B, K]` over the images that count."""
    return (values * known[:, None]).sum() / (known.sum() * values.shape[1]).clamp(min=1)


def _habits(judged: Drawn, known: Tensor) -> dict[str, Tensor]:
    """How long captions are, in tokens with EOS, and how undecided the model is at each, in nats."""
    chosen = judged.chosen & known[:, None, None]
    count = chosen.sum().clamp(min=1)
    captions = (known.sum() * chosen.shape[1]).clamp(min=1)
    return {"sample_length": count / captions, "policy_entropy": (judged.entropy * chosen).sum() / count}
