"""Sampling with temperature, top-k, nucleus and min-p filters.

Every image has its own stream of random numbers, generated from the seed and the image's number, and every sampled
token uses one number of it: captions depend neither on the batch nor on how many captions are sampled.

Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020 (nucleus, top-p); Nguyen et al. 2024 (min-p).

Axis letters: `B` images, `K` samples of each image, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.decoding.constrained_decoder import ConstrainedDecoder
from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, constraints_spec
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import PartialCaptions
from captioner.decoding.setting_checks import check_count, check_length, check_number
from captioner.errors import UsageError


class SampleSearch:
    """Sampling of each token from softmax(logits / temperature), filtered by top-k, then nucleus, then min-p.

    Tokens that constraints forbid are excluded, and the others renormalised for sampling. The reported
    log-probabilities are the model's own, before temperature and filters.

    Args:
        samples: `K`, captions sampled for each image, best score first; the same caption may occur more than once.
        temperature: Above 1 flattens the distribution, below 1 sharpens it.
        top_k: Keep this number of the most probable tokens.
        top_p: Keep the most probable tokens that together reach this probability.
        min_p: Keep tokens with at least this fraction of the largest probability.
        seed: Seed of the random streams, 0 or more.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Constraints on every caption.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` tokens can meet the constraints.
    """

    def __init__(
        self,
        samples: int = 1,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
    ) -> None:
        check_count("samples", samples)
        check_count("seed", seed, least=0)
        check_length(max_length)
        check_constraints(constraints, max_length)
        check_number("temperature", temperature, positive=True, remedy="method=greedy does not sample")
        if top_k is not None:
            check_count("top_k", top_k)
        if top_p is not None:
            check_number("top_p", top_p, most=1.0, positive=True, remedy="null keeps all tokens")
        if min_p is not None:
            check_number("min_p", min_p, most=1.0, positive=True, remedy="null keeps all tokens")
        self.samples = samples
        self.temperature = temperature
        self.top_k, self.top_p, self.min_p = top_k, top_p, min_p
        self.seed = seed
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)
        self.images: tuple[int, ...] | None = None

    def for_images(self, images: Sequence[int]) -> SampleSearch:
        """The same search with the random streams of these images; by default the numbers are 0, 1, ..."""
        other = copy.copy(self)
        other.images = tuple(images if self.images is None else [self.images[i] for i in images])
        return other

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings: dict[str, Any] = {
            "search": "sample",
            "samples": self.samples,
            "temperature": self.temperature,
        }
        filters = {"top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        settings |= {name: value for name, value in filters.items() if value is not None}
        settings |= {"seed": self.seed, "max_length": self.max_length} | self.norm.spec()
        return settings | constraints_spec(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Sample captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder returns NaN, naming the step.
            UsageError: If the constraints leave a caption without a next token.
        """
        B, K = memory.shape[0], self.samples
        constrained = ConstrainedDecoder(
            decoder, memory, special, num_beams=K, max_length=self.max_length, constraints=self.constraints
        )
        numbers = range(B) if self.images is None else self.images
        uniform = uniform_streams(self.seed, numbers, captions=K, length=self.max_length).to(memory.device)
        captions = PartialCaptions(B, K, length=constrained.length, special=special, device=memory.device)
        tokens = torch.full((B, K), special.begin, device=memory.device)
        for t in range(constrained.length):
            logprobs = constrained(tokens, captions.tokens[:, :, :t])
            constrained.check_dead_ends(((logprobs.amax(dim=-1) > NEG_INF) | captions.done).all(dim=1))
            tokens = sample_tokens(self._filter(logprobs), uniform[:, :, t])
            if captions.append(t, tokens, logprobs.gather(-1, tokens[..., None])[..., 0]):
                break
        hypotheses = captions.hypotheses(self.norm)
        return hypotheses.select(hypotheses.scores.argsort(dim=1, descending=True, stable=True))

    def _filter(self, logprobs: Tensor) -> Tensor:
        """Unnormalised log-probabilities `[..., V]` under temperature, -inf where a filter removes a token."""
        logprobs = logprobs / self.temperature
        if self.top_k is not None:
            logprobs = filter_top_k(logprobs, self.top_k)
        if self.top_p is not None:
            logprobs = filter_top_p(logprobs, self.top_p)
        if self.min_p is not None:
            logprobs = filter_min_p(logprobs, self.min_p)
        return logprobs


def filter_top_k(logprobs: Tensor, top_k: int) -> Tensor:
    """Keep the `top_k` most probable of `[..., V]` and ties with the last of them; -inf for the others."""
    least = logprobs.topk(min(top_k, logprobs.shape[-1]), dim=-1).values[..., -1:]
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def filter_top_p(logprobs: Tensor, top_p: float) -> Tensor:
    """Keep the fewest most probable of `[..., V]` that together reach `top_p`, and ties with the last of them."""
    ordered = logprobs.sort(dim=-1, descending=True).values
    probs = ordered.softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs
    least = ordered.masked_fill(before >= top_p, math.inf).amin(dim=-1, keepdim=True)
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def filter_min_p(logprobs: Tensor, min_p: float) -> Tensor:
    """Keep those of `[..., V]` at least `min_p` times as probable as the most probable one."""
    least = logprobs.amax(dim=-1, keepdim=True) + math.log(min_p)
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def sample_tokens(logprobs: Tensor, uniform: Tensor) -> Tensor:
    """One token of each distribution, by inverse transform sampling.

    Args:
        logprobs: `[B, K, V]`, unnormalised.
        uniform: float64 `[B, K]` in [0, 1).

    Returns:
        int64 `[B, K]`; never a token of probability 0.
    """
    cumulative = logprobs.double().softmax(dim=-1).cumsum(dim=-1)
    index = torch.searchsorted(cumulative, (uniform * cumulative[..., -1])[..., None], right=True)[..., 0]
    # Rounding may make the product equal to the total; the last possible token is where the total is reached.
    last = (cumulative < cumulative[..., -1:]).sum(dim=-1)
    return torch.minimum(index, last)


def uniform_streams(seed: int, images: Sequence[int], *, captions: int, length: int) -> Tensor:
    """Uniform random numbers float64 `[B, K, L]` in [0, 1), separate for each image and caption, on the CPU.

    Raises:
        UsageError: If there is no image or an image's number is negative.
    """
    if not images or min(images) < 0:
        raise UsageError(f"image numbers {list(images)} must be 0 or more")
    streams = [
        np.random.default_rng(np.random.SeedSequence((seed, image))).random((captions, length))
        for image in images
    ]
    return torch.from_numpy(np.stack(streams))
